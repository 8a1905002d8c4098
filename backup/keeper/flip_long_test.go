//go:build long

package keeper_test

const flipEvery = 1
