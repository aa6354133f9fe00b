// Command describe writes the descriptions of the customer API and of the operator API to
// a folder, for the console's types: the same documents that admin serves.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"tokenrelay/admin/api"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: describe FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "describe:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the folder: %w", err)
	}
	customer, operator := api.Describe("Token Relay", "http://127.0.0.1:8000")
	for name, document := range map[string][]byte{"customer.json": customer, "operator.json": operator} {
		if err := os.WriteFile(filepath.Join(dir, name), document, 0o644); err != nil {
			return fmt.Errorf("cannot write the description: %w", err)
		}
	}
	return nil
}
