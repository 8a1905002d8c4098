// Command identity prints an age key, as age-keygen does.
package main

import (
	"fmt"
	"os"

	"filippo.io/age"
)

func main() {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("# public key: %s\n%s\n", key.Recipient(), key)
}
