// Command errorsdoc writes the error catalogue as a Markdown page.
package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"tokenrelay/shared/apierr"
)

func main() {
	if len(os.Args) != 2 {
		slog.Error("cannot write the error page: want one argument, its path")
		os.Exit(2)
	}
	path := os.Args[1]
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, apierr.AppendMarkdown(nil), 0o644)
	}
	if err != nil {
		slog.Error("cannot write the error page", "err", err)
		os.Exit(1)
	}
}
