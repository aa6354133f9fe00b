// Command translationdoc writes the table of fates as a Markdown page.
package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"tokenrelay/proxy/protocol/chat"
)

func main() {
	if len(os.Args) != 2 {
		slog.Error("cannot write the translation page: want one argument, its path")
		os.Exit(2)
	}
	path := os.Args[1]
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, chat.AppendMarkdown(nil), 0o644)
	}
	if err != nil {
		slog.Error("cannot write the translation page", "err", err)
		os.Exit(1)
	}
}
