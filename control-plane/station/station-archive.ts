import { createHash } from 'node:crypto'
import { Readable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdCompress, createZstdDecompress } from 'node:zlib'
import { z } from 'zod'
import { AGE_MAGIC, type Bytes, decrypted, encrypted } from '../../shared/age-stream.ts'
import { FleetError } from '../../shared/errors.ts'
import { DatabaseHead, type TableRows } from '../db/station/database-text.ts'
import { damaged, type Member, tarred, untarred } from './tar.ts'

/**
 * One backup of a station: a tar in zstd, in age where it is encrypted.
 *
 *   station.json                  what it is, and the shape of the database
 *   keys/<name>                   only where they were asked for
 *   tables/<name>/000001.ndjson   rows, in pieces
 *   sums                          of all of these, as `sha256sum -c` reads them; the last, so that a cut file has none
 */
export const Head = z.object({
  format: z.literal(1),
  /** Of this backup, and of the station. */
  id: z.string(),
  station: z.string(),
  version: z.string(),
  createdAt: z.iso.datetime(),
  /** Names below `keys/`. */
  keys: z.array(z.string()),
  database: DatabaseHead,
})
export type Head = Readonly<z.infer<typeof Head>>

const HEAD = 'station.json'
const SUMS = 'sums'
const KEY = /^keys\/([a-z][a-z0-9.-]{0,60})$/
const ROWS = /^tables\/([a-z_][a-z0-9_]*)\/\d{6,}\.ndjson$/

/** The bytes of the file. @param recipients none: it is not encrypted. @throws what `content` throws. */
export function packed(
  content: { readonly head: Head; readonly keys: readonly Member[]; readonly rows: AsyncIterable<TableRows> },
  recipients: readonly string[],
): Bytes {
  const compressed = through(tarred(summed(membersOf(content))), createZstdCompress())
  return recipients.length === 0 ? compressed : encrypted(compressed, recipients)
}

/** @throws what `source` throws, and the transform. */
async function* through(source: Bytes, transform: Transform): AsyncGenerator<Buffer> {
  // Told by the loop below too; unheard here, it would end the process.
  const fed = pipeline(Readable.from(source, { objectMode: false }), transform).catch(() => undefined)
  try {
    for await (const piece of transform) yield piece
  } finally {
    transform.destroy()
    await fed
  }
}

async function* membersOf({ head, keys, rows }: Parameters<typeof packed>[0]): AsyncGenerator<Member> {
  yield { name: HEAD, bytes: Buffer.from(`${JSON.stringify(head, null, 2)}\n`) }
  for (const { name, bytes } of keys) yield { name: `keys/${name}`, bytes }
  const counts = new Map<string, number>()
  for await (const { table, text } of rows) {
    const number = (counts.get(table) ?? 0) + 1
    counts.set(table, number)
    yield { name: `tables/${table}/${String(number).padStart(6, '0')}.ndjson`, bytes: Buffer.from(text) }
  }
}

async function* summed(members: AsyncIterable<Member>): AsyncGenerator<Member> {
  let sums = ''
  for await (const member of members) {
    sums += `${sumOf(member)}  ${member.name}\n`
    yield member
  }
  yield { name: SUMS, bytes: Buffer.from(sums) }
}

function sumOf({ bytes }: Member): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** What a backup is made of, in its order. */
export type Part =
  | { readonly head: Head }
  | { readonly key: Member }
  | { readonly rows: Pick<TableRows, 'table' | 'text'> }

/**
 * What is in the file. That all of it is there and as it was written is known when this has ended.
 * @param identities for one that is encrypted
 * @throws corrupt; refused when none of the identities opens it, or it is of another format
 */
export async function* unpacked(file: Bytes, identities: readonly string[]): AsyncGenerator<Part> {
  const source = await plain(file, identities)
  const archive = through(source, createZstdDecompress())
  let sums = ''
  let told: string | undefined
  try {
    for await (const member of untarred(archive)) {
      if (told !== undefined) throw damaged('something stands behind its sums')
      if (member.name === SUMS) {
        told = member.bytes.toString()
        continue
      }
      sums += `${sumOf(member)}  ${member.name}\n`
      yield partOf(member)
    }
  } catch (error) {
    throw isOfZstd(error) ? damaged('it cannot be decompressed') : error
  }
  if (told !== sums) throw damaged('its sums do not match')
}

function partOf(member: Member): Part {
  if (member.name === HEAD) return { head: readHead(member) }
  const key = KEY.exec(member.name)?.[1]
  if (key !== undefined) return { key: { name: key, bytes: member.bytes } }
  const table = ROWS.exec(member.name)?.[1]
  if (table !== undefined) return { rows: { table, text: member.bytes.toString() } }
  throw damaged('it has something in it that no backup has')
}

function readHead({ bytes }: Member): Head {
  let json: unknown
  try {
    json = JSON.parse(bytes.toString())
  } catch {
    throw damaged('its head cannot be read')
  }
  const parsed = Head.safeParse(json)
  if (parsed.success) return parsed.data
  if (z.object({ format: z.number().min(2) }).safeParse(json).success)
    throw new FleetError('refused', 'the backup was made by a newer version of Holdfast: restore it with that')
  throw damaged('its head cannot be read')
}

async function plain(file: Bytes, identities: readonly string[]): Promise<Bytes> {
  const pieces = file[Symbol.asyncIterator]()
  const first = await pieces.next()
  const beginning = first.done ? Buffer.alloc(0) : Buffer.from(first.value)
  const again = (async function* () {
    yield beginning
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield next.value
  })()
  if (beginning.toString('latin1', 0, AGE_MAGIC.length) !== AGE_MAGIC) return again
  if (identities.length > 0) return decrypted(again, identities)
  throw new FleetError('refused', 'the backup is encrypted: name the identity that opens it (--identity FILE)')
}

function isOfZstd(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(ZSTD_|Z_|ERR_ZLIB|ERR_STREAM)/.test(String(error.code))
}
