package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proveEvery is how long a silent LISTEN connection is believed in.
const proveEvery = 5 * time.Second

// Listen holds a connection of its own and calls notify for every notice on
// ChannelConfig and ChannelRecall until ctx ends or the connection breaks, which it
// returns. ready (may be nil) is called once listening: what was changed before has to
// be polled. A silent connection is proved every few seconds, so that one that hangs is
// an error within 8 s. Reconnecting is the caller's.
func (d *DB) Listen(ctx context.Context, ready func(), notify func(channel, payload string)) error {
	config := d.pool.Config().ConnConfig.Copy()
	config.Tracer = nil
	config.RuntimeParams["application_name"] += " listen"
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { notify(n.Channel, n.Payload) }
	connect, cancel := d.limit(ctx)
	defer cancel()
	conn, err := pgx.ConnectConfig(connect, config)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
		defer cancel()
		_ = conn.Close(end)
	}()
	for _, channel := range []string{ChannelConfig, ChannelRecall} {
		if _, err := conn.Exec(connect, "LISTEN "+channel); err != nil {
			return fmt.Errorf("cannot listen: %w", err)
		}
	}
	if ready != nil {
		ready()
	}
	for {
		wait, cancel := context.WithTimeout(ctx, proveEvery)
		err := conn.PgConn().WaitForNotification(wait)
		cancel()
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot listen: %w", ctx.Err())
		}
		if !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err) {
			return fmt.Errorf("cannot listen: %w", err)
		}
		prove, cancel := d.limit(ctx)
		_, err = conn.Exec(prove, "SELECT 1")
		cancel()
		if err != nil {
			return fmt.Errorf("cannot listen: %w", err)
		}
	}
}

// payload of ChannelRecall: "w <wallet> <slot> <number>" or "k <key> <period> <slot>
// <number>", with a plus in front if money came back.
func (r Recall) payload() string {
	sign := ""
	if r.Freed {
		sign = "+"
	}
	if r.WalletID != 0 {
		return fmt.Sprintf("%sw %d %d %d", sign, r.WalletID, r.Slot, r.Number)
	}
	return fmt.Sprintf("%sk %d %d %d %d", sign, r.KeyID, r.Period, r.Slot, r.Number)
}

// ParseRecall reads the payload of ChannelRecall. Recall.Slot is the proxy that was
// refused: it need not answer its own call.
func ParseRecall(payload string) (r Recall, ok bool) {
	payload, freed := strings.CutPrefix(payload, "+")
	kind, rest, _ := strings.Cut(payload, " ")
	var n [4]int64
	fields := strings.Split(rest, " ")
	if len(fields) > len(n) {
		return Recall{}, false
	}
	for i, f := range fields {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil || v < 0 {
			return Recall{}, false
		}
		n[i] = v
	}
	switch {
	case n[0] == 0:
	case kind == "w" && len(fields) == 3 && n[1] <= 4095:
		return Recall{Escrow: Escrow{WalletID: n[0]}, Slot: int16(n[1]), Number: n[2], Freed: freed}, true
	case kind == "k" && len(fields) == 4 && n[1] <= 999912 && n[2] <= 4095:
		return Recall{Escrow: Escrow{KeyID: n[0], Period: int32(n[1])}, Slot: int16(n[2]), Number: n[3], Freed: freed}, true
	}
	return Recall{}, false
}
