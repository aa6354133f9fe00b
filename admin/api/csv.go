package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

// sendCSV answers with a CSV file whose pages are read while it is sent. The pages
// outlive the handler and its context, so each gets its own.
func (a *api) sendCSV(c *Call, name string, header []string, next func(context.Context) ([][]string, error)) error {
	body, err := report.NewCSV(header, func() ([][]string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		return next(ctx)
	})
	if err != nil {
		return err
	}
	c.c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8; header=present")
	c.c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+time.Now().UTC().Format("20060102")+"-"+name+`"`)
	c.c.Status(fiber.StatusOK).Context().SetBodyStream(body, -1)
	return nil
}
