package tools

import "github.com/tellhook/tellhook/store"

// Paging are the arguments that every list takes.
type Paging struct {
	Limit  int    `json:"limit,omitempty" in:"query" minimum:"1" maximum:"100" default:"20" doc:"Rows to answer."`
	Cursor string `json:"cursor,omitempty" in:"query" maxLength:"500" doc:"next_cursor of the page before."`
}

func (p Paging) page() store.Page { return store.Page{Limit: p.Limit, Cursor: p.Cursor} }

// list is one page of an answer.
type list[T any] struct {
	Data       []T     `json:"data" slim:"true"`
	NextCursor *string `json:"next_cursor" slim:"true" doc:"Pass it as cursor for the next page; null on the last."`
}

func listOf[R, T any](rows store.List[R], answer func(*R) T) *list[T] {
	out := &list[T]{Data: make([]T, len(rows.Data)), NextCursor: orNull(rows.NextCursor)}
	for i := range rows.Data {
		out.Data[i] = answer(&rows.Data[i])
	}
	return out
}
