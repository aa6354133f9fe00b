package journal

import (
	"slices"
	"testing"
	"time"

	"tokenrelay/shared/usage"
)

// BenchmarkAppend tells median and 99th percentile of one Append in every mode.
func BenchmarkAppend(b *testing.B) {
	for _, name := range []string{"process", "group", "sync"} {
		b.Run(name, func(b *testing.B) {
			o := Options{MinFree: 1, Log: small().Log}
			o.Mode, _ = ParseMode(name)
			j, _ := mustOpen(b, b.TempDir(), o)
			rec := record(12345)
			took := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				began := time.Now()
				if err := j.Append(rec); err != nil {
					b.Fatal(err)
				}
				if len(took) < cap(took) {
					took = append(took, time.Since(began))
				}
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	for _, name := range []string{"process", "group", "sync"} {
		b.Run(name, func(b *testing.B) {
			o := Options{MinFree: 1, Log: small().Log}
			o.Mode, _ = ParseMode(name)
			j, _ := mustOpen(b, b.TempDir(), o)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				rec := record(12345)
				for pb.Next() {
					if err := j.Append(rec); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkProgress(b *testing.B) {
	j, _ := mustOpen(b, b.TempDir(), small())
	f := j.Flights().Acquire()
	defer f.Release()
	f.Begin(record(1))
	u := usage.Units{usage.Input: 1000}
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		u[usage.Output] = n
		f.Progress(5, &u)
	}
}

func BenchmarkBegin(b *testing.B) {
	j, _ := mustOpen(b, b.TempDir(), small())
	f := j.Flights().Acquire()
	defer f.Release()
	rec := record(1)
	b.ReportAllocs()
	for b.Loop() {
		f.Begin(rec)
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	o := small()
	o.Cells = 4096
	j, _ := mustOpen(b, b.TempDir(), o)
	fl := j.Flights()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if f := fl.Acquire(); f != nil {
				f.Release()
			}
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	rec := record(12345)
	buf := make([]byte, 0, MaxRecord)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecord(buf[:0], rec)
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

func BenchmarkDecodeRecord(b *testing.B) {
	buf := AppendRecord(nil, record(12345))
	var rec usage.Record
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeRecord(buf, &rec); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is the start of a proxy with the default sizes.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	o := Options{Log: small().Log}
	for b.Loop() {
		j, _, err := Open(dir, o)
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
