import { readFileSync } from 'node:fs'
import test from 'ava'
import { release, releaseShared } from './release.ts'

const SHARED_BYTES = 64 * 2 ** 20

function residentBytes(): number {
  const pages = readFileSync('/proc/self/statm', 'utf8').split(' ')[1]
  return Number(pages) * 4_096
}

test.serial('memory that threads share is zeros afterwards, takes no room, and can be used again', (t) => {
  const memory = new SharedArrayBuffer(SHARED_BYTES)
  const bytes = new Uint8Array(memory).fill(7)
  const before = residentBytes()
  releaseShared(memory)
  t.true(before - residentBytes() > SHARED_BYTES / 2)
  const middle = SHARED_BYTES / 2
  t.deepEqual([...bytes.subarray(middle, middle + 3)], [0, 0, 0])
  bytes.fill(9)
  t.is(bytes[middle], 9)
  t.is(bytes.length, SHARED_BYTES)
})

test.serial('less than a page of it is left alone', (t) => {
  const bytes = new Uint8Array(new SharedArrayBuffer(4_096)).fill(7)
  releaseShared(bytes.buffer)
  t.true(bytes.every((byte) => byte === 7))
})

test.serial('what shares its memory with others is not given back', (t) => {
  const bytes = Buffer.alloc(100, 7)
  release(bytes.subarray(0, 50))
  t.is(bytes[0], 7)
  const own = Buffer.allocUnsafeSlow(100)
  release(own)
  t.is(own.buffer.byteLength, 0)
})
