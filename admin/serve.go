package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/api"
	"tokenrelay/admin/jobs"
	"tokenrelay/admin/mail"
	"tokenrelay/admin/manage"
	"tokenrelay/admin/probe"
	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/admin/web"
	"tokenrelay/shared/config"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
)

// statementTimeout ends a statement of the control plane (H3). A report that needs
// longer asks for too much.
const statementTimeout = 2 * time.Second

// serve runs the control plane until ctx ends.
func serve(ctx context.Context, p *process, usage string, args []string) error {
	var c config.Admin
	set := config.AdminSet(usage, &c)
	var doMigrate, asJSON bool
	set.Bool(&asJSON, "json", "off", "log as JSON, whatever --log-format says")
	set.Bool(&doMigrate, "migrate", "off", "bring the schema to this version first")
	rest, err := set.Parse(args, p.env)
	if err != nil {
		var help *config.HelpError
		if errors.As(err, &help) {
			return err
		}
		return &exit{code: exitUsage, err: err}
	}
	if len(rest) > 0 {
		return usageError("unexpected argument %q", rest[0])
	}
	if c.OperatorToken != "" && len(c.OperatorToken) < session.MinOperatorToken {
		return usageError("RELAY_OPERATOR_TOKEN is too short: it needs at least %d bytes", session.MinOperatorToken)
	}
	if asJSON {
		c.LogFormat = "json"
	}
	log := obs.NewLogger(p.stderr, c.LogFormat, c.LogLevel)
	s, err := newServer(ctx, &c, log)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx, doMigrate)
}

// shutdownGrace is how long requests under way get when the process is told to end.
const shutdownGrace = 10 * time.Second

// server is a running control plane.
type server struct {
	config   *config.Admin
	log      *slog.Logger
	db       *store.DB
	metrics  *obs.Metrics
	ready    *obs.Ready
	schema   *obs.Condition
	serving  *obs.Condition
	internal *obs.Internal
	listener net.Listener
	app      *fiber.App
	mailing  jobs.Mailing
	started  atomic.Bool // the schema is there
}

// newServer binds both addresses, so that a taken port is an error at once.
func newServer(ctx context.Context, c *config.Admin, log *slog.Logger) (s *server, err error) {
	s = &server{config: c, log: log, metrics: obs.NewMetrics(true), ready: obs.NewReady()}
	s.schema, s.serving = s.ready.Condition("schema"), s.ready.Condition("serving")
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	if s.internal, err = obs.ListenInternal(c.InternalListen, obs.Handler(s.metrics, s.ready)); err != nil {
		return s, err
	}
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return s, fmt.Errorf("cannot listen on RELAY_ADMIN_LISTEN: %w", err)
	}
	if s.db, err = store.Open(ctx, c.DatabaseURL, store.Options{ApplicationName: "tokenrelay admin", Timeout: statementTimeout}); err != nil {
		return s, err
	}
	box, err := seal.New(c.SecretKey)
	if err != nil {
		return s, err
	}
	responses, err := stored.New(s.db, c.SecretKey)
	if err != nil {
		return s, err
	}
	s.mailing = jobs.Mailing{Writer: &mail.Writer{Brand: c.Brand, Contact: c.Contact, PublicURL: c.PublicURL}, Box: box}
	if c.SMTPURL != "" {
		if s.mailing.Sender, err = mail.NewSender(c.SMTPURL, c.Contact, c.Brand); err != nil {
			return s, err
		}
	}
	now := time.Now
	s.app = api.New(api.Deps{
		Probe: probe.New(), People: session.NewPeople(s.db), Pages: web.New().Mount, Contact: c.Contact,
		DB: s.db, Manage: manage.New(s.db, box, c.KeyPrefix, now), Report: report.New(s.db, now),
		Operator: session.NewOperator(c.OperatorToken), Letters: s.mailing.Writer, Mails: s.mailing.Sender != nil, Box: box, Stored: responses, Log: log, Metrics: s.metrics, TrustedProxies: c.TrustedProxies,
		Brand: c.Brand, PublicURL: c.PublicURL, CreditsPerUSD: c.CreditsPerUSD, Now: now, Ready: s.started.Load,
	})
	return s, nil
}

// run serves until ctx ends (nil) or the process cannot go on.
func (s *server) run(ctx context.Context, doMigrate bool) error {
	served := make(chan error, 1)
	go func() { served <- s.app.Listener(s.listener) }()
	s.serving.Met()
	s.log.Info("admin is listening", "addr", s.listener.Addr().String(), "internal", s.internal.Addr())

	var background sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	background.Go(func() {
		if err := s.awaitSchema(ctx, s.db.Schema, doMigrate); err != nil {
			if ctx.Err() == nil {
				failed <- err
			}
			return
		}
		s.schema.Met()
		s.started.Store(true)
		s.log.Info("admin is ready")
		jobs.New(s.db, s.log, s.metrics, store.Keep{
			Changes: s.config.KeepChanges, Refusals: s.config.KeepRefusals, Leases: s.config.KeepLeases,
		}, s.mailing).Run(ctx)
	})

	var err error
	select {
	case <-ctx.Done():
		s.log.Info("admin is stopping")
	case err = <-failed:
	case err = <-served:
		err = fmt.Errorf("the server stopped: %w", err)
	}
	s.serving.Unmet("stopping")
	stop()
	if down := s.app.ShutdownWithTimeout(shutdownGrace); down != nil && err == nil {
		s.log.Warn("requests were still running at the end of the grace", "error", down.Error())
	}
	background.Wait()
	return err
}

// The pace of waiting for the schema.
const (
	schemaPoll = 500 * time.Millisecond
	schemaSay  = 10 * time.Second
)

// schemaSource tells how the schema stands: (*store.DB).Schema.
type schemaSource func(context.Context) (store.SchemaState, error)

// awaitSchema returns when the schema is this version's. A database that is away,
// empty or older is waited for, as the processes start in any order; a newer or
// foreign one is an error.
func (s *server) awaitSchema(ctx context.Context, schema schemaSource, doMigrate bool) error {
	var said string
	var saidAt time.Time
	for {
		err := s.checkSchema(ctx, schema, doMigrate)
		if err == nil {
			return nil
		}
		var never *exit
		if errors.As(err, &never) || ctx.Err() != nil {
			return err
		}
		if text := err.Error(); text != said || time.Since(saidAt) > schemaSay {
			said, saidAt = text, time.Now()
			s.schema.Unmet(text)
			s.log.Warn("waiting for the database", "reason", text)
		}
		wait := time.NewTimer(schemaPoll)
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}

func (s *server) checkSchema(ctx context.Context, schema schemaSource, doMigrate bool) error {
	state, err := schema(ctx)
	if err != nil {
		return err
	}
	if doMigrate && (state == store.SchemaMissing || state == store.SchemaOlder) {
		if err := store.Migrate(ctx, s.config.DatabaseURL); err != nil {
			return err
		}
		s.log.Info("the schema was migrated")
		return nil
	}
	err = schemaError(state)
	if state == store.SchemaNewer || state == store.SchemaForeign {
		return &exit{code: exitFailed, err: err}
	}
	return err
}

// close frees what newServer took.
func (s *server) close() {
	if s.listener != nil {
		_ = s.listener.Close() // closed already after a shutdown
	}
	if s.internal != nil {
		if err := s.internal.Close(); err != nil {
			s.log.Warn("the internal port did not close", "error", err.Error())
		}
	}
	if s.db != nil {
		s.db.Close()
	}
}
