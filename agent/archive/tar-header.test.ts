import { randomBytes } from 'node:crypto'
import test from 'ava'
import { BLOCK, checksum } from './tar-header.ts'

test('the checksum of a block is the sum of its bytes, its own field read as spaces', (t) => {
  const blocks = [
    Buffer.alloc(BLOCK),
    Buffer.alloc(BLOCK, 0xff),
    ...Array.from({ length: 100 }, () => randomBytes(BLOCK)),
  ]
  for (const block of blocks) {
    const read = Buffer.from(block).fill(' ', 148, 156)
    t.is(
      checksum(block),
      read.reduce((sum, byte) => sum + byte, 0),
    )
  }
})
