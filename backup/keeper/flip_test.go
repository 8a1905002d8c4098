//go:build !long

package keeper_test

// flipEvery is which bytes TestEveryByte flips: a prime, so that no period of the format escapes.
const flipEvery = 131
