package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tokenrelay/shared/obs"
)

// windowBytes is how much of a segment is mapped at a time: small, because what is
// mapped and written counts as the process's memory.
const windowBytes = 1 << 20

var pageSize = int64(os.Getpagesize())

// window is the mapped part of the segment that is being written. Storing a record
// there is what write(2) does, without the system call, which was half of what the
// money of a request cost (BenchmarkMoneyG7): the pages are the file's, the kernel has
// them when the process dies, and fdatasync writes them.
type window struct {
	data []byte
	from int64 // offset of data in the file
}

// store writes b at off of a file of size bytes. It fails where write(2) would fail,
// also for a page that the disk does not give. The last byte is stored last: a kill in
// between leaves a record without its trailer, which is known for a torn one.
func (w *window) store(fd int, size int64, b []byte, off int64) (err error) {
	if off < w.from || off+int64(len(b)) > w.from+int64(len(w.data)) {
		if err := w.move(fd, size, off, int64(len(b))); err != nil {
			return err
		}
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = badPage(r)
		}
	}()
	to := w.data[off-w.from:][:len(b)]
	last := len(b) - 1
	copy(to[:last], b[:last])
	to[last] = b[last]
	return nil
}

// badPage tells a page that the disk does not give from a mistake.
func badPage(r any) error {
	if _, fault := r.(interface{ Addr() uintptr }); !fault {
		obs.Bug("a record cannot be stored: %v", r)
	}
	return errors.New("the disk did not give a page of the segment")
}

// touch makes the pages of the n bytes at off ready to be stored into, as far as they are
// mapped, and changes nothing in them: a sync leaves pages that may not be written to, and
// whoever is the first to store takes the fault.
func (w *window) touch(off, n int64) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			_ = badPage(r) // store will say it
		}
	}()
	first, end := max(off-w.from, 0), min(off+n-w.from, int64(len(w.data)))
	for at := first &^ 3; at < end; at = (at + pageSize) &^ (pageSize - 1) {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&w.data[at])), 0)
	}
}

// move maps the part of the file that begins at off.
func (w *window) move(fd int, size, off, need int64) error {
	w.close()
	from := off / pageSize * pageSize
	length := min(size-from, max(windowBytes, off-from+need))
	if off+need > size {
		return fmt.Errorf("cannot write %d bytes at %d of a segment of %d", need, off, size)
	}
	data, err := unix.Mmap(fd, from, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("cannot map segment: %w", err)
	}
	w.data, w.from = data, from
	return nil
}

// close unmaps.
func (w *window) close() {
	if w.data != nil {
		_ = unix.Munmap(w.data)
		w.data, w.from = nil, 0
	}
}
