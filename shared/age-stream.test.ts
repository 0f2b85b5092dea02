import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inflateSync } from 'node:zlib'
import test from 'ava'
import * as vectors from 'cctv-age'
import { ageKeys, runAge } from '../test/harness/age.ts'
import { temporaryDirectory } from '../test/harness/loop-mount.ts'
import { lacksTool, testUnless } from '../test/harness/system-packages.ts'
import { CHUNK_BYTES } from './age-chunks.ts'
import { AgeIdentity } from './age-keys.ts'
import { decrypted, encrypted } from './age-stream.ts'
import { FleetError } from './errors.ts'

const withAge = testUnless(lacksTool('age', 'age-keygen'))
const SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]

async function* inPieces(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function whole(source: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source))
}

withAge('a stream that is encrypted here age decrypts, and the other way round', async (t) => {
  const [keys, others] = [ageKeys(), ageKeys()]
  const identity = join(temporaryDirectory(t), 'identity')
  writeFileSync(identity, `${keys.identity}\n`)
  for (const size of SIZES) {
    const content = randomBytes(size)
    for (const piece of [1_000, CHUNK_BYTES, 5 * CHUNK_BYTES]) {
      const ours = await whole(encrypted(inPieces(content, piece), [others.recipient, keys.recipient]))
      t.true(runAge('age', ['-d', '-i', identity], ours).equals(content), `${size} in ${piece}`)
      const theirs = runAge('age', ['-r', keys.recipient], content)
      const back = await whole(decrypted(inPieces(theirs, piece), [others.identity, keys.identity]))
      t.true(back.equals(content), `${size} in ${piece}`)
    }
  }
  const sealed = await whole(encrypted(inPieces(Buffer.alloc(10), 10), [keys.recipient]))
  await t.throwsAsync(whole(decrypted(inPieces(sealed, 10), [others.identity])), { code: 'refused' })
})

const CODES: Readonly<Record<string, string>> = {
  'no match': 'refused',
  'HMAC failure': 'corrupt',
  'header failure': 'corrupt',
  'payload failure': 'corrupt',
}

test('streams that every implementation of age has to read or to refuse are read or refused', async (t) => {
  let tried = 0
  for (const [name, raw] of Object.entries(vectors)) {
    const bytes = Buffer.from(raw)
    const end = bytes.indexOf('\n\n')
    const pairs = bytes
      .toString('utf8', 0, end)
      .split('\n')
      .map((line): readonly [string, string] => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)])
    const fields = new Map(pairs)
    const identities = pairs.filter(([key]) => key === 'identity').map(([, value]) => value)
    const isOurs = identities.length > 0 && identities.every((one) => AgeIdentity.safeParse(one).success)
    if (fields.get('armored') === 'yes' || !isOurs) continue
    tried += 1
    const body = bytes.subarray(end + 2)
    const file = fields.get('compressed') === 'zlib' ? inflateSync(body) : body
    const outcome = await whole(decrypted(inPieces(file, 10_000), identities)).then(
      (content) => createHash('sha256').update(content).digest('hex'),
      (error: unknown) => (error instanceof FleetError ? error.code : String(error)),
    )
    const expected = fields.get('expect') ?? ''
    t.is(outcome, expected === 'success' ? (fields.get('payload') ?? '') : (CODES[expected] ?? ''), name)
  }
  t.true(tried > 50, `${tried} vectors`)
})
