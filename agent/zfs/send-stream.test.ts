import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import {
  sentBegin,
  sentEnd,
  sentRange,
  sentRecord,
  sentStream,
  TYPES,
  VERSION,
} from '../../test/harness/sent-stream.ts'
import { NotUnderstood } from './not-understood.ts'
import { SendStream, type SentRange, type SentSnapshots } from './send-stream.ts'

const KIB = 1_024
const OF: SentSnapshots = { fromGuid: '17', toGuid: '18446744073709551615' }
const UNLIMITED = Number.POSITIVE_INFINITY

/** @param cuts where the stream comes in pieces */
function read(stream: Buffer, of = OF, { cuts = [] as readonly number[], limit = UNLIMITED } = {}): SentRange[] {
  const ranges: SentRange[] = []
  const reader = new SendStream(of, limit, (range) => ranges.push(range))
  const places = [0, ...cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b), stream.length]
  for (const [index, from] of places.entries()) reader.push(stream.subarray(from, places[index + 1] ?? stream.length))
  reader.finish()
  return ranges
}

// `zfs send -w -i` of ZFS 2.1.11, payloads blanked: a volume of 64 MiB with 4 MiB in it, then a block of each kind, a discard, a growth.
for (const [name, of] of [
  ['plain', { fromGuid: '4825902899178073105', toGuid: '15542383052279704660' }],
  ['sealed', { fromGuid: '12002986564273086533', toGuid: '11484286934564333037' }],
] as const) {
  const stream = gunzipSync(readFileSync(join(import.meta.dirname, 'zfs-2.1.11', `send-${name}.gz`)))

  test(`what zfs 2.1.11 says of a volume is read: ${name}`, (t) => {
    const written = (offset: number) => ({ offset, bytes: 16 * KIB, isWritten: true })
    t.deepEqual(read(stream, of, { cuts: [1, 311, 312, 313, 5_000, 5_001, 20_000] }), [
      { offset: 50_348_032, bytes: Number.POSITIVE_INFINITY, isWritten: false },
      written(49_152),
      written(163_840),
      written(327_680),
      { offset: 1_024 * KIB, bytes: 1_024 * KIB, isWritten: false },
      { offset: 4_096 * KIB, bytes: 45_056 * KIB, isWritten: false },
      written(50_331_648),
    ])
  })

  test(`cut off anywhere, or of other snapshots, it is not understood: ${name}`, (t) => {
    for (let length = 0; length < stream.length; length += 97)
      t.throws(() => read(stream.subarray(0, length), of), { instanceOf: NotUnderstood })
    t.throws(() => read(Buffer.concat([stream, Buffer.alloc(1)]), of), { instanceOf: NotUnderstood })
    t.throws(() => read(Buffer.concat([stream, stream]), of), { instanceOf: NotUnderstood })
    t.throws(() => read(stream), { instanceOf: NotUnderstood })
    t.throws(() => read(stream, { ...of, fromGuid: '1' }), { instanceOf: NotUnderstood })
    t.throws(() => read(stream, of, { limit: 9_000 }), { message: /most of the volume/ })
  })
}

test('however it comes in pieces, it says the same', (t) => {
  const range = fc.record({
    offset: fc.nat({ max: 2 ** 40 }),
    bytes: fc.nat({ max: 2_000 }),
    isWritten: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), fc.array(fc.nat()), (ranges, cuts) => {
      t.deepEqual(read(sentStream(OF, ranges), OF, { cuts }), ranges)
    }),
  )
})

test('what is not known in all of its parts is not understood', (t) => {
  const within = (...records: readonly Buffer[]) => Buffer.concat([sentBegin(OF), ...records, sentEnd(OF)])
  const to = BigInt(OF.toGuid)
  const good = sentRange({ offset: 0, bytes: 512, isWritten: true }, OF.toGuid)
  t.is(read(within(good)).length, 1)
  const odd: readonly (readonly [string, Buffer])[] = [
    ['nothing', Buffer.alloc(0)],
    ['no beginning', Buffer.concat([good, sentEnd(OF)])],
    ['two beginnings', within(sentBegin(OF))],
    ['a record behind the end', Buffer.concat([within(), good])],
    ['an unknown type', within(sentRecord(11, [[40, to, 8]]))],
    ['a redacted range', within(sentRecord(10, [[8, 1, 8], [32, to, 8]]))], // biome-ignore format: a line each
    ['a reference to other blocks', within(sentRecord(6, [[8, 1, 8], [32, to, 8]]))], // biome-ignore format: a line each
    ['a spilt block of it', within(sentRecord(7, [[8, 1, 8], [24, to, 8]]))], // biome-ignore format: a line each
    ['the volume gone', within(sentRecord(TYPES.freeobjects, [[8, 0, 8], [16, 2, 8], [24, to, 8]]))], // biome-ignore format: a line each
    ['another snapshot', within(sentRange({ offset: 0, bytes: 512, isWritten: true }, '5'))],
    ['a place behind all', within(sentRange({ offset: 2 ** 62, bytes: 512, isWritten: true }, OF.toGuid))],
    ['two lengths', within(Buffer.from(good).fill(3, 4, 5))],
    ['a vast payload', within(sentRecord(TYPES.write, [[8, 2, 8], [32, 2n ** 40n, 8], [40, to, 8]]))], // biome-ignore format: a line each
    ['a resumed stream', Buffer.concat([sentBegin(OF, VERSION | (1n << 22n)), sentEnd(OF)])],
    ['a redacted stream', Buffer.concat([sentBegin(OF, VERSION | (1n << 23n)), sentEnd(OF)])],
    ['an unknown feature', Buffer.concat([sentBegin(OF, VERSION | (1n << 31n)), sentEnd(OF)])],
    ['several streams', Buffer.concat([sentBegin(OF, (VERSION & ~3n) | 2n), sentEnd(OF)])],
    ['a file system', Buffer.concat([Buffer.from(sentBegin(OF)).fill(2, 32, 33), sentEnd(OF)])],
    ['the other byte order', Buffer.concat([Buffer.from(sentBegin(OF)).swap64(), sentEnd(OF)])],
  ]
  for (const [what, stream] of odd) t.throws(() => read(stream), { instanceOf: NotUnderstood }, what)
})
