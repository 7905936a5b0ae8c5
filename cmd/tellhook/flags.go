package main

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// addFlags gives the command line a flag for every setting. Their texts are
// only stored here; Config.load judges them together with the environment.
func (c *Config) addFlags(k *kong.Kong) error {
	for _, s := range c.settings {
		name := s.flagName()
		k.Model.Flags = append(k.Model.Flags, s.newFlag(name, s.helpText(), s.holder, &s.flag))
		if s.secret {
			k.Model.Flags = append(k.Model.Flags, s.newFlag(name+"-file", "File that holds --"+name+". ($"+s.name+fileSuffix+")", "PATH", &s.flagFile))
		}
	}
	return nil
}

func (s *setting) newFlag(name, help, holder string, target **string) *kong.Flag {
	value := reflect.ValueOf(target).Elem()
	flag := &kong.Flag{
		Value: &kong.Value{
			Name: name, Help: help, OrigHelp: help, Tag: &kong.Tag{}, Mapper: textMapper{boolean: s.boolean},
			Target: value, DefaultValue: reflect.Zero(value.Type()),
		},
		Group:       &kong.Group{Key: s.group, Title: s.group + " settings:"},
		PlaceHolder: holder,
		Hidden:      s.planned(),
	}
	if target == &s.flag {
		flag.Aliases = s.aliases
	}
	flag.Flag = flag
	return flag
}

func (s *setting) helpText() string {
	text := s.help + " ($" + s.name
	if s.fallback != "" {
		text += ", default " + strings.ReplaceAll(s.fallback, "$", "$$") // kong expands ${…}
	}
	return text + ")"
}

// textMapper stores a flag's value as text. A boolean flag alone means true.
type textMapper struct{ boolean bool }

func (m textMapper) IsBool() bool { return m.boolean }

func (m textMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	text := "true"
	if !m.boolean || ctx.Scan.Peek().Type == kong.FlagValueToken {
		token, err := ctx.Scan.PopValue("value")
		if err != nil {
			return err
		}
		text, _ = token.Value.(string) // a command line holds nothing else
	}
	target.Set(reflect.ValueOf(&text))
	return nil
}

// filled is the text of a flag that may be left out. An empty one, which is what
// a shell makes of a variable that is not set, would pass for that.
type filled string

// Decode implements kong.MapperValue.
func (f *filled) Decode(ctx *kong.DecodeContext) error {
	if err := ctx.Scan.PopValueInto("value", (*string)(f)); err != nil {
		return err
	}
	if *f == "" {
		return errors.New("the value is empty; leave the flag out for the default")
	}
	return nil
}

// settingsOf are the groups of settings that each command's help shows; every
// command takes every setting.
var settingsOf = map[string][]string{
	"serve":    {groupDatabase, groupServer, groupDelivery, groupEvents, groupLog},
	"dispatch": {groupDatabase, groupDelivery, groupEvents, groupLog},
	"stdio":    {groupClient, groupDatabase, groupDelivery, groupEvents, groupLog},
	"send":     {groupClient, groupDatabase},
	"config":   {groupDatabase, groupServer, groupDelivery, groupEvents, groupClient, groupLog},
	"migrate":  {groupDatabase},
	"keys":     {groupDatabase},
	"teams":    {groupDatabase},
}

// printHelp is kong's help with those settings alone that the command reads.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	var groups []string
	command := ctx.Selected()
	for command != nil && command.Depth() > 0 {
		command = command.Parent
	}
	if command != nil {
		groups = settingsOf[command.Name]
	}
	for _, flag := range ctx.Model.Flags {
		if flag.Group != nil && !slices.Contains(groups, flag.Group.Key) {
			flag.Hidden = true
		}
	}
	return kong.DefaultHelpPrinter(options, ctx)
}
