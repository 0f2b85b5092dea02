import test from 'ava'
import { parseIdentity, parseLbaStatus, parseLimits } from './commands.ts'

function statusOf(...runs: readonly (readonly [lba: number, blocks: number, status: number])[]): Buffer {
  const data = Buffer.alloc(8 + 64 * 16)
  data.writeUInt32BE(4 + 16 * runs.length, 0)
  for (const [at, [lba, blocks, status]] of runs.entries()) {
    data.writeBigUInt64BE(BigInt(lba), 8 + 16 * at)
    data.writeUInt32BE(blocks, 16 + 16 * at)
    data[20 + 16 * at] = status
  }
  return data
}

test('runs of blocks are believed as far as one stands behind the other', (t) => {
  const told = parseLbaStatus(statusOf([0, 12, 0], [12, 4, 1], [16, 8, 2]), 8)
  t.deepEqual(told, [
    { lba: 8, blocks: 4, isMapped: true },
    { lba: 12, blocks: 4, isMapped: false },
    { lba: 16, blocks: 8, isMapped: false },
  ])
  t.is(parseLbaStatus(statusOf([8, 4, 1], [13, 4, 1]), 8).length, 1, 'a gap')
  t.is(parseLbaStatus(statusOf([8, 4, 1], [10, 4, 1]), 8).length, 1, 'twice')
  t.deepEqual(parseLbaStatus(statusOf([9, 4, 1]), 8), [], 'begins later')
  t.deepEqual(parseLbaStatus(statusOf([8, 0, 1]), 8), [], 'nothing')
  t.deepEqual(parseLbaStatus(statusOf([0, 8, 1]), 8), [], 'before')
  t.deepEqual(parseLbaStatus(statusOf(), 8), [])
  const longer = statusOf([8, 4, 1])
  longer.writeUInt32BE(2 ** 32 - 1, 0)
  t.is(parseLbaStatus(longer, 8).length, 1)
})

test('a unit is known by its own names, not by those of the port', (t) => {
  const page = Buffer.alloc(1_024)
  page.writeUInt16BE(8 + 8, 2)
  page.set([0x01, 0x03, 0, 4, 1, 2, 3, 4], 4)
  page.set([0x51, 0x94, 0, 4, 0, 0, 0, 1], 12)
  t.deepEqual(parseIdentity(page), ['0103000401020304'])
  page.writeUInt16BE(0xffff, 2)
  page[7] = 255
  t.is(parseIdentity(page).length > 0, true, 'lengths of others lead nowhere else')
  t.deepEqual(parseLimits(Buffer.alloc(64)), { transfer: Number.POSITIVE_INFINITY, same: Number.POSITIVE_INFINITY })
})
