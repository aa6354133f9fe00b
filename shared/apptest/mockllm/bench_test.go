package mockllm

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
)

// The mock runs beside what is measured: its own cost must stay small. The metric
// cpu-µs/op is of this whole process, the measuring client included.
func benchmarkChat(b *testing.B, body string) {
	_, addr := start(b, Options{})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	br := bufio.NewReaderSize(nc, 64<<10)
	request := post(chatPath, body)
	before := cpu()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(nc, request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/op")
}

func cpu() int64 {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return ru.Utime.Nano() + ru.Stime.Nano()
}

func BenchmarkBuffered(b *testing.B) { benchmarkChat(b, chatBody("m", "", "")) }
func BenchmarkBuffered64K(b *testing.B) {
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	benchmarkChat(b, chatBody("m", string(text), ""))
}
func BenchmarkStream64(b *testing.B) { benchmarkChat(b, chatBody("m", "mock:chunks=64", streamed)) }
func BenchmarkStream64Flush16(b *testing.B) {
	benchmarkChat(b, chatBody("m", "mock:chunks=64;flush=16", streamed))
}
