package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/session"
)

type userResult struct {
	Email    string `json:"email"`
	Client   string `json:"client,omitempty"`
	Operator bool   `json:"operator"`
	Password string `json:"password,omitempty"` // only one that was generated
}

func userCreate(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var in manage.NewUser
	s.set.String(&in.Client, "client", "", "the customer that the user belongs to")
	s.set.Bool(&in.Operator, "operator", "off", "the user operates the relay")
	rest, err := s.parse(p, args, "EMAIL")
	if err != nil {
		return err
	}
	in.Email = rest[0]
	if in.Password, err = readPassword(p.stdin); err != nil {
		return err
	}
	generated := ""
	if in.Password == "" {
		if in.Password, err = session.GeneratePassword(); err != nil {
			return err
		}
		generated = in.Password
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	u, err := manage.New(db, nil, "", now).CreateUser(ctx, cli, in)
	if err != nil {
		return err
	}
	result := userResult{Email: u.Email, Client: in.Client, Operator: u.Operator, Password: generated}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "User %s.\n", u.Email)
		if generated != "" {
			_, _ = fmt.Fprintf(w, "The password is shown this once:\n%s\n", generated)
		}
	})
}

// readPassword reads the first line of stdin, "" where nothing is piped in.
func readPassword(in io.Reader) (string, error) {
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		if err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return "", nil // a terminal, /dev/null, or closed
		}
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the password from stdin: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
