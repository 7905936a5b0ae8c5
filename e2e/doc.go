// Package e2e tests Tellhook from outside: it builds the program once, starts it
// as its users do, and speaks to it through its command line, REST, and MCP with
// the official SDK as client. It imports nothing of the program.
//
// Run it with `make e2e`; TELLHOOK_TEST_DATABASE_URL names the PostgreSQL cluster
// in which each test makes a database of its own.
package e2e
