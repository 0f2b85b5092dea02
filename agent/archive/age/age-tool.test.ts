import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { CHUNK_BYTES, SEALED_CHUNK_BYTES } from '../../../shared/age-chunks.ts'
import { type AgeKeys, ageKeys, MemoryPoint, runAge } from '../../../test/harness/age.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { decryptedFiles } from './decrypted-files.ts'
import { encryptedSink } from './encrypted-sink.ts'

const withAge = testUnless(lacksTool('age', 'age-keygen'))
const { signal } = new AbortController()
const NAME = 'data.tar'
const BORDERS = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 4 * 2 ** 20, 4 * 2 ** 20 + 1]

/** Encrypts in writes of the given sizes, again and again, until the content is over. */
async function encrypted(content: Buffer, writes: readonly number[], recipients: readonly string[]) {
  const point = new MemoryPoint()
  const file = await encryptedSink(point, recipients).open(NAME, signal)
  for (let at = 0, turn = 0; at < content.length; turn += 1) {
    const size = Math.max(1, writes[turn % writes.length] ?? 1)
    const chunk = Buffer.from(content.subarray(at, at + size))
    await file.write(chunk)
    chunk.fill(0xee) // what is written is the writer's again
    at += size
  }
  await file.close()
  return { point, stored: file.stored?.() }
}

function byAge(directory: string, keys: AgeKeys, args: readonly string[], input: Buffer): Buffer {
  const identity = join(directory, 'identity')
  writeFileSync(identity, `${keys.identity}\n`)
  const all = args[0] === '-d' ? [...args, '-i', identity] : args
  return runAge('age', all, input)
}

async function readAll(point: MemoryPoint, identities: readonly string[]): Promise<Buffer> {
  await using source = await decryptedFiles(point, identities).open(NAME, signal)
  return source.read(0, source.size, signal)
}

withAge('what is encrypted here age decrypts, whatever the size and however it was written', async (t) => {
  const directory = temporaryDirectory(t)
  const [keys, others] = [ageKeys(), ageKeys()]
  const size = fc.oneof(fc.constantFrom(...BORDERS), fc.integer({ min: 0, max: 5 * CHUNK_BYTES }))
  const writes = fc.array(fc.oneof(fc.integer({ min: 1, max: 3 * CHUNK_BYTES }), fc.constant(9 * 2 ** 20)), {
    minLength: 1,
    maxLength: 4,
  })
  const check = async (bytes: number, sizes: readonly number[]) => {
    const content = randomBytes(bytes)
    const { point, stored } = await encrypted(content, sizes, [others.recipient, keys.recipient])
    const file = point.files.get(`${NAME}.age`) ?? Buffer.alloc(0)
    t.deepEqual([...point.files.keys()], [`${NAME}.age`])
    const sha256 = createHash('sha256').update(file).digest('hex')
    t.deepEqual(stored, { name: `${NAME}.age`, bytes: file.length, sha256 })
    t.true(byAge(directory, keys, ['-d'], file).equals(content), `${bytes} in ${sizes}`)
    t.true((await readAll(point, [keys.identity])).equals(content))
  }
  for (const bytes of BORDERS) await check(bytes, [CHUNK_BYTES])
  await check(20 * 2 ** 20, [20 * 2 ** 20])
  await fc.assert(fc.asyncProperty(size, writes, check), { numRuns: 40 })
})

withAge('what age encrypts is read here, whole and from anywhere', async (t) => {
  const directory = temporaryDirectory(t)
  const keys = ageKeys()
  const read = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }))
  for (const bytes of BORDERS) {
    const content = randomBytes(bytes)
    const point = new MemoryPoint()
    point.files.set(`${NAME}.age`, byAge(directory, keys, ['-r', keys.recipient], content))
    await using source = await decryptedFiles(point, [ageKeys().identity, keys.identity]).open(NAME, signal)
    t.is(source.size, bytes)
    t.true((await source.read(0, bytes, signal)).equals(content))
    await t.throwsAsync(source.read(0, bytes + 1, signal), { code: 'corrupt' })
    await fc.assert(
      fc.asyncProperty(fc.array(read, { maxLength: 6 }), async (places) => {
        for (const [from, share] of places) {
          const offset = Math.floor(from * bytes)
          const length = Math.floor(share * (bytes - offset))
          const found = await source.read(offset, length, signal)
          if (!found.equals(content.subarray(offset, offset + length))) throw new Error(`${length} at ${offset}`)
        }
      }),
      { numRuns: 25 },
    )
  }
})

withAge('a read fetches the chunks that it needs and no others, and no chunk twice in a row', async (t) => {
  const keys = ageKeys()
  const content = randomBytes(40 * CHUNK_BYTES + 5)
  const { point } = await encrypted(content, [2 ** 20], [keys.recipient])
  await using source = await decryptedFiles(point, [keys.identity]).open(NAME, signal)
  const fetched = () => point.reads.splice(0).map(({ length }) => length)
  t.deepEqual(fetched(), [2 ** 14, 5 + 16]) // the header, and the end
  await source.read(7 * CHUNK_BYTES + 9, 2 * CHUNK_BYTES, signal)
  t.deepEqual(fetched(), [3 * SEALED_CHUNK_BYTES])
  await source.read(9 * CHUNK_BYTES + 9, 100, signal)
  t.deepEqual(fetched(), [])
  await source.read(9 * CHUNK_BYTES + 109, CHUNK_BYTES, signal)
  t.deepEqual(fetched(), [SEALED_CHUNK_BYTES])
})

withAge('damage in any region, chunks that change places and a cut anywhere are found', async (t) => {
  const keys = ageKeys()
  const { point } = await encrypted(randomBytes(3 * CHUNK_BYTES), [CHUNK_BYTES], [keys.recipient])
  const file = point.files.get(`${NAME}.age`) ?? Buffer.alloc(0)
  const start = file.length - 3 * SEALED_CHUNK_BYTES
  const chunk = (number: number) => file.subarray(start + number * SEALED_CHUNK_BYTES).subarray(0, SEALED_CHUNK_BYTES)
  const head = file.subarray(0, start)
  const outcome = async (bytes: Buffer, identities = [keys.identity]) => {
    const changed = new MemoryPoint()
    changed.files.set(`${NAME}.age`, bytes)
    return readAll(changed, identities).then(
      () => 'read',
      (error: { code?: unknown }) => error.code,
    )
  }
  const stanza = head.indexOf('-> X25519')
  const footer = head.indexOf('\n---')
  const changes = [
    ...head.keys(),
    ...[0, 1, 2].flatMap((n) =>
      [0, 70_000, 65_551].map((at) => start + n * SEALED_CHUNK_BYTES + (at % SEALED_CHUNK_BYTES)),
    ),
  ]
  for (const at of changes) {
    const bytes = Buffer.from(file)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    const found = await outcome(bytes)
    // A changed stanza may be one for somebody else, as far as anybody can tell.
    const allowed = at >= stanza && at < footer ? ['corrupt', 'refused'] : ['corrupt']
    t.true(allowed.includes(String(found)), `byte ${at}: ${found}`)
  }
  t.is(await outcome(Buffer.concat([head, chunk(1), chunk(0), chunk(2)])), 'corrupt')
  t.is(await outcome(Buffer.concat([head, chunk(0), chunk(2)])), 'corrupt')
  t.is(await outcome(Buffer.concat([file, chunk(2)])), 'corrupt')
  for (const end of [0, 10, stanza + 20, start - 1, start, start + 5, start + 16, file.length - 1])
    t.is(await outcome(file.subarray(0, end)), 'corrupt', `cut at ${end}`)
  for (const chunks of [1, 2]) t.is(await outcome(file.subarray(0, start + chunks * SEALED_CHUNK_BYTES)), 'corrupt')
  t.is(await outcome(file, [ageKeys().identity]), 'refused')
  t.is(await outcome(file, []), 'refused')
  t.is(await outcome(file), 'read')
})

withAge('a cut at the border of a chunk is found when the file is opened, before anything is read', async (t) => {
  const keys = ageKeys()
  const { point } = await encrypted(randomBytes(9 * CHUNK_BYTES), [CHUNK_BYTES], [keys.recipient])
  const file = point.files.get(`${NAME}.age`) ?? Buffer.alloc(0)
  point.files.set(`${NAME}.age`, file.subarray(0, file.length - SEALED_CHUNK_BYTES))
  await t.throwsAsync(decryptedFiles(point, [keys.identity]).open(NAME, signal), { code: 'corrupt' })
})

withAge('what is no key is invalid before anything is written, and is not repeated', async (t) => {
  const keys = ageKeys()
  const point = new MemoryPoint()
  t.throws(() => encryptedSink(point, []), { code: 'invalid' })
  const error = t.throws(() => encryptedSink(point, [keys.identity]), { code: 'invalid' })
  t.false(JSON.stringify([error?.message, String(error?.cause)]).includes(keys.identity.slice(20, 50)))
  const other = t.throws(() => decryptedFiles(point, [`${keys.identity}x`]), { code: 'invalid' })
  t.false(String(other?.stack).includes(keys.identity.slice(20, 50)))
})
