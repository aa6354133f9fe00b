package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"tokenrelay/shared/config"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// settings is what an operator command reads besides its own flags.
type settings struct {
	databaseURL string
	dataDir     string
	secretKey   []byte // only where withSecretKey
	keyPrefix   string // only where withKeyPrefix
	json        bool

	set *config.Set
}

// newFileSettings is for commands that read files only and need no database.
func newFileSettings(usage string) *settings {
	s := &settings{set: config.New(usage)}
	s.set.Bool(&s.json, "json", "off", "print the result as JSON")
	return s
}

// newSettings declares what every operator command understands; the command adds
// its flags to set.
func newSettings(usage string) *settings {
	s := &settings{set: config.New(usage)}
	s.set.RunEnv = true
	s.set.Bool(&s.json, "json", "off", "print the result as JSON")
	s.set.String(&s.databaseURL, "RELAY_DATABASE_URL", "", "Postgres, as a URL: postgres://user:password@host/name").Required().Secret()
	s.set.String(&s.dataDir, "RELAY_DATA_DIR", config.DefaultDataDir, "folder whose run.env is read for settings that are absent").Required()
	return s
}

// withSecretKey is for commands that seal provider keys.
func (s *settings) withSecretKey() *settings {
	s.set.Key32(&s.secretKey, "RELAY_SECRET_KEY", "encrypts provider keys at rest; the same for every process").Required()
	return s
}

// withKeyPrefix is for commands that issue keys.
func (s *settings) withKeyPrefix() *settings {
	s.set.String(&s.keyPrefix, "RELAY_KEY_PREFIX", "tsk_", "prefix of newly issued keys; never checked on use")
	return s
}

// parse reads flags and settings and wants exactly the named positional arguments.
func (s *settings) parse(p *process, args []string, names ...string) ([]string, error) {
	rest, err := s.set.Parse(args, p.env)
	if err != nil {
		var help *config.HelpError
		if errors.As(err, &help) {
			return nil, err
		}
		return nil, &exit{code: exitUsage, err: err}
	}
	if len(rest) < len(names) {
		return nil, usageError("%s is missing", names[len(rest)])
	}
	if len(rest) > len(names) {
		return nil, usageError("unexpected argument %q", rest[len(names)])
	}
	return rest, nil
}

// open connects to the database and refuses a schema that is not this version's.
func (s *settings) open(ctx context.Context) (*store.DB, error) {
	db, err := store.Open(ctx, s.databaseURL, store.Options{Pool: 2, ApplicationName: "tokenrelay admin command"})
	if err != nil {
		return nil, err
	}
	state, err := db.Schema(ctx)
	if err == nil {
		err = schemaError(state)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// schemaError says what is wrong with a schema, nil if nothing is.
func schemaError(state store.SchemaState) error {
	switch state {
	case store.SchemaReady:
		return nil
	case store.SchemaMissing:
		return errors.New("the database is empty: run admin migrate first")
	case store.SchemaOlder:
		return errors.New("the schema is older than this program: run admin migrate first")
	case store.SchemaNewer:
		return errors.New("the schema is newer than this program: use the version that migrated it")
	case store.SchemaForeign:
		return errors.New("the database holds tables of something else: give Token Relay one of its own")
	default:
		return fmt.Errorf("the schema is in an unknown state %d", state)
	}
}

// box opens the seal of provider keys.
func (s *settings) box() (*seal.Box, error) { return seal.New(s.secretKey) }

// print writes a result: as JSON with --json, else by text.
func (s *settings) print(p *process, result any, text func(w io.Writer)) error {
	if !s.json {
		text(p.stdout)
		return nil
	}
	e := json.NewEncoder(p.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(result); err != nil {
		return fmt.Errorf("cannot print the result: %w", err)
	}
	return nil
}

// cli names the command line in the audit log.
const cli store.Actor = "cli"

func now() time.Time { return time.Now() }
