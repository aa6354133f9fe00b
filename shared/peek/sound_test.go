package peek

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// wav makes a WAV file; the head says that its sound has said bytes.
func wav(format, channels, rate, bits, length, said int) []byte {
	b := append([]byte("RIFF\x00\x00\x00\x00WAVELIST\x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00"), byte(format), byte(format>>8), byte(channels), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*channels*bits/8))
	b = append(b, byte(channels*bits/8), 0, byte(bits), 0)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), uint32(said))
	return append(b, make([]byte, length)...)
}

// repeat makes a file of n frames of a size that begin with head.
func repeat(head string, size, n int) []byte {
	f := make([]byte, size)
	copy(f, head)
	return bytes.Repeat(f, n)
}

func box(kind string, content ...[]byte) []byte {
	all := bytes.Join(content, nil)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(8+len(all))), kind...), all...)
}

// What a file says of its own length, and what bounds it when it lies.
func TestSound(t *testing.T) {
	opus := append([]byte("OggS\x00\x02"), make([]byte, 22)...)
	opus = append(opus, "OpusHead\x01\x01"...)
	opus = append(opus, make([]byte, 60_000)...)
	opus = append(opus, "OggS\x00\x04"...)
	opus = binary.LittleEndian.AppendUint64(opus, 48_000*15-100)
	mvhd := append(make([]byte, 12), 0, 0, 3, 0xe8, 0, 0, 0x4e, 0x20) // 20,000 of 1,000
	movie := append(box("ftyp", []byte("M4A ")), append(box("free", make([]byte, 9)), box("moov", box("mvhd", append(mvhd, make([]byte, 80)...)), make([]byte, 90_000))...)...)
	info := append([]byte("\x1a\x45\xdf\xa3 webm \x18\x53\x80\x67\x15\x49\xa9\x66\x90\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x88"), binary.BigEndian.AppendUint64(nil, math.Float64bits(12_345))...)
	info = append(info, make([]byte, 50_000)...)
	flac := append([]byte("fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x00\x00\x00\x00"), 0x0a, 0xc4, 0x42, 0xf0, 0, 6, 0xba, 0xa8) // 44,100, two of 16, 441,000
	flac = append(flac, make([]byte, 300_000)...)
	for name, c := range map[string]struct {
		file         []byte
		bound, guess int64
	}{
		"wav":                     {wav(1, 1, 16_000, 16, 320_000, 320_000), 10, 10},
		"wav, stereo":             {wav(1, 2, 44_100, 16, 44_100*4*3, 44_100*4*3), 3, 3},
		"wav, unknown length":     {wav(1, 1, 16_000, 16, 320_000, 0xffffffff), 10, 10},
		"wav that claims less":    {wav(1, 1, 16_000, 16, 320_000, 32_000), 10, 1},
		"wav of mu law":           {wav(7, 1, 8_000, 8, 80_000, 80_000), 10, 10},
		"wav of MP3":              {wav(0x55, 1, 16_000, 16, 750_000-56, 0), 1_000, 24},
		"mp3, 128 kbit":           {repeat("\xff\xfb\x90\x00", 417, 383), 11, 11},
		"mp3 behind a tag":        {append([]byte("ID3\x04\x00\x00\x00\x00\x02\x00"+string(make([]byte, 256))), repeat("\xff\xfb\x90\x00", 417, 383)...), 11, 11},
		"mp3, 24 kHz, 64 kbit":    {repeat("\xff\xf3\x84\x00", 192, 500), 12, 12},
		"mp3 among other bytes":   {append(repeat("\xff\xfb\x90\x00", 417, 10), make([]byte, 7500)...), 11, 11},
		"aac":                     {repeat("\xff\xf1\x50\x80\x19\x1f\xfc", 200, 431), 11, 11},
		"flac":                    {flac, 10, 10},
		"opus":                    {opus, 81, 15},
		"m4a":                     {movie, 121, 20},
		"webm":                    {info, 67, 13},
		"webm without its length": {append([]byte("\x1a\x45\xdf\xa3"), make([]byte, 39_000)...), 53, 10},
	} {
		bound, guess, ok := Sound(c.file)
		if !ok || bound != c.bound || guess != c.guess {
			t.Errorf("%s: %d, %d, %v; want %d, %d", name, bound, guess, ok, c.bound, c.guess)
		}
	}
	for _, s := range []string{"", "RIFF", "words", "RIFF\x00\x00\x00\x00WAVE", "PK\x03\x04", "%PDF-1.7", "\x7fELF"} {
		if _, _, ok := Sound([]byte(s)); ok {
			t.Errorf("%q is taken for sound", s)
		}
	}
}

// FuzzSound: no file makes a guess above its bound, or one without end.
func FuzzSound(f *testing.F) {
	f.Add(wav(1, 1, 16_000, 16, 320, 320))
	f.Add(repeat("\xff\xfb\x90\x00", 417, 3))
	f.Add([]byte("fLaC" + string(make([]byte, 60))))
	f.Add([]byte("\x00\x00\x00\x10ftypM4A \x00\x00\x00\x00\x00\x00\x00\x10moov"))
	f.Add([]byte("\x1a\x45\xdf\xa3\x15\x49\xa9\x66\x44\x89\x88"))
	f.Fuzz(func(t *testing.T, file []byte) {
		bound, guess, ok := Sound(file)
		if ok && (guess < 1 || guess > bound) {
			t.Fatalf("%d, %d", bound, guess)
		}
	})
}
