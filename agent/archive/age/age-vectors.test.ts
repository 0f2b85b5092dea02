import { createHash } from 'node:crypto'
import { inflateSync } from 'node:zlib'
import test from 'ava'
import * as vectors from 'cctv-age'
import { AgeIdentity } from '../../../shared/age-keys.ts'
import { FleetError } from '../../../shared/errors.ts'
import type { PointFiles } from '../range-source.ts'
import { decryptedFiles } from './decrypted-files.ts'

const { signal } = new AbortController()

interface Vector {
  readonly fields: ReadonlyMap<string, string>
  readonly identities: readonly string[]
  readonly file: Buffer
}

function parseVector(bytes: Buffer): Vector {
  const end = bytes.indexOf('\n\n')
  const pairs = bytes
    .toString('utf8', 0, end)
    .split('\n')
    .map((line): readonly [string, string] => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)])
  const fields = new Map(pairs)
  const body = bytes.subarray(end + 2)
  const identities = pairs.filter(([key]) => key === 'identity').map(([, value]) => value)
  return { fields, identities, file: fields.get('compressed') === 'zlib' ? inflateSync(body) : body }
}

function inMemory(file: Buffer): PointFiles {
  return {
    open: async () => ({
      size: file.length,
      read: async (offset, length) => file.subarray(offset, offset + length),
      [Symbol.asyncDispose]: async () => undefined,
    }),
  }
}

/** The whole content, or why it cannot be had. */
async function outcomeOf({ file, identities }: Vector): Promise<string> {
  try {
    await using source = await decryptedFiles(inMemory(file), identities).open('data.tar', signal)
    const content = await source.read(0, source.size, signal)
    return createHash('sha256').update(content).digest('hex')
  } catch (error) {
    if (error instanceof FleetError) return error.code
    throw error
  }
}

const CODES: Readonly<Record<string, string>> = {
  'no match': 'refused',
  'HMAC failure': 'corrupt',
  'header failure': 'corrupt',
  'payload failure': 'corrupt',
}

test('files that every implementation of age has to read or to refuse are read or refused', async (t) => {
  let tried = 0
  for (const [name, bytes] of Object.entries(vectors)) {
    const vector = parseVector(Buffer.from(bytes))
    const { fields, identities } = vector
    const ours = identities.length > 0 && identities.every((identity) => AgeIdentity.safeParse(identity).success)
    if (fields.get('armored') === 'yes' || !ours) continue
    tried += 1
    const expected = fields.get('expect') ?? ''
    t.is(
      await outcomeOf(vector),
      expected === 'success' ? (fields.get('payload') ?? '') : (CODES[expected] ?? ''),
      name,
    )
  }
  t.true(tried > 50, `${tried} vectors`)
  t.log(`${tried} vectors`)
})
