// Package e2e tests the program as it is run: its binary, killed, stopped and starved, with programs
// that use its API on one side and a real mail server on the other.
package e2e
