import { createHash, randomBytes } from 'node:crypto'
import test from 'ava'
import { type Algorithm, hashHere, hashOnPool, poolHash } from './pool-hash.ts'

/** Of pieces: empty, short, around the length from which another thread hashes, long. */
const LENGTHS = [0, 1, 131_071, 131_072, 131_073, 5, 3 * 2 ** 20 + 7, 0]

for (const algorithm of ['sha256', 'md5'] as const satisfies readonly Algorithm[]) {
  test(`${algorithm} of pieces of any length is that of the whole`, async (t) => {
    const bytes = randomBytes(LENGTHS.reduce((sum, length) => sum + length) + 1)
    const expected = createHash(algorithm).update(bytes.subarray(1)).digest('hex')
    for (const make of [poolHash, hashHere]) {
      using hash = make(algorithm)
      let at = 1 // a piece need not begin where its memory does
      for (const length of LENGTHS) {
        await hash.update(bytes.subarray(at, at + length))
        at += length
      }
      t.is(hash.digest().toString('hex'), expected)
    }
    t.is((await hashOnPool(algorithm, bytes.subarray(1))).toString('hex'), expected)
  })
}

test('many at once do not mix', async (t) => {
  const all = Array.from({ length: 24 }, (_, index) => Buffer.alloc(2 ** 20 + index, index))
  const hashes = await Promise.all(all.map((bytes) => hashOnPool('sha256', bytes)))
  t.deepEqual(
    hashes.map((hash) => hash.toString('hex')),
    all.map((bytes) => createHash('sha256').update(bytes).digest('hex')),
  )
})

test('a hash that has ended takes nothing more', async (t) => {
  const ended = poolHash('sha256')
  ended.digest()
  await t.throwsAsync(ended.update(Buffer.alloc(1)), { code: 'internal' })
  t.throws(() => ended.digest(), { code: 'internal' })
})

test('one that is disposed of at work finishes its piece first', async (t) => {
  const hash = poolHash('sha256')
  const working = hash.update(Buffer.alloc(16 * 2 ** 20))
  await t.throwsAsync(hash.update(Buffer.alloc(1)), { code: 'internal' }, 'one piece at a time')
  hash[Symbol.dispose]()
  await t.notThrowsAsync(working)
  t.throws(() => hash.digest(), { code: 'internal' })
})
