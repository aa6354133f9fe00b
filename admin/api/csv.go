package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

// table is a CSV file: next gives its records page by page, an empty page at the end.
type table struct {
	name   string
	header []string
	next   func(context.Context) ([][]string, error)
}

// sendCSV answers with a CSV file whose pages are read while it is sent. The pages
// outlive the handler and its context, so each gets its own.
func sendCSV(c *Call, t *table) error {
	body, err := report.NewCSV(t.header, func() ([][]string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		return t.next(ctx)
	})
	if err != nil {
		return err
	}
	c.c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8; header=present")
	c.c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+time.Now().UTC().Format("20060102")+"-"+t.name+`"`)
	c.c.Status(fiber.StatusOK).Context().SetBodyStream(body, -1)
	return nil
}
