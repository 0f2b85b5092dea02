import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bech32 } from '@scure/base'
import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { newBoxKeys } from '../../shared/sealed-box.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { lacksTool, testUnless } from '../../test/harness/system-packages.ts'
import { decideBackup } from '../core/station.ts'
import type { TableRows } from '../db/station/database-text.ts'
import { evict, findBackup, nameOf, shelve, shelved } from './shelf.ts'
import { type Head, packed, unpacked } from './station-archive.ts'

const withTools = testUnless(lacksTool('tar', 'zstd', 'sha256sum'))
const STATION = '01234567-89ab-7def-8123-456789abcdef'
const HEAD: Head = {
  ...{ format: 1, id: 'one', station: STATION, version: '0.1.0', createdAt: '2026-01-02T03:04:05.000Z', keys: ['k'] },
  database: {
    migrations: ['Base0001'],
    tables: [{ name: 't', columns: [{ name: 'a', type: 'text' }] }],
    sequences: [],
  },
}
const KEYS = [{ name: 'k', bytes: Buffer.from('secret') }]
const PIECES: readonly TableRows[] = [
  { table: 't', text: `["${'x'.repeat(300_000)}"]\n`, rows: 1 },
  { table: 't', text: '["ü\\n"]\n[null]\n', rows: 2 },
]

function newAgeKeys() {
  const { privateKey, publicKey } = newBoxKeys()
  const encode = (prefix: string, key: Buffer) => bech32.encode(prefix, bech32.toWords(key), 200)
  return { recipient: encode('age', publicKey), identity: encode('age-secret-key-', privateKey).toUpperCase() }
}

async function* rows() {
  yield* PIECES
}

async function* inPieces(bytes: Buffer) {
  for (let at = 0; at < bytes.length; at += 1_000) yield bytes.subarray(at, at + 1_000)
}

const fileOf = async (recipients: readonly string[]) =>
  Buffer.concat(await Array.fromAsync(packed({ head: HEAD, keys: KEYS, rows: rows() }, recipients)))

async function outcome(file: Buffer, identities: readonly string[]): Promise<string> {
  try {
    const parts = await Array.fromAsync(unpacked(inPieces(file), identities))
    return parts.length === 4 ? 'whole' : `${parts.length} parts`
  } catch (error) {
    return error instanceof FleetError ? error.code : String(error)
  }
}

test('what was packed is unpacked, and a file that was cut or changed anywhere is refused', async (t) => {
  const keys = newAgeKeys()
  for (const [recipients, identities] of [
    [[], []],
    [[newAgeKeys().recipient, keys.recipient], [keys.identity]],
  ] as const) {
    const file = await fileOf(recipients)
    const parts = await Array.fromAsync(unpacked(inPieces(file), identities))
    t.deepEqual(parts, [
      { head: HEAD },
      { key: KEYS[0] },
      ...PIECES.map(({ table, text }) => ({ rows: { table, text } })),
    ])
    for (const length of [0, 1, 50, Math.floor(file.length / 2), file.length - 1])
      t.is(await outcome(file.subarray(0, length), identities), 'corrupt', `${length} of ${file.length}`)
    for (let n = 0; n < 60; n += 1) {
      const changed = Buffer.from(file)
      const at = randomBytes(4).readUInt32BE() % file.length
      changed[at] = (changed[at] ?? 0) ^ (1 << (n % 8))
      // Bits of a header that say nothing may change; never what comes out.
      const found = await outcome(changed, identities)
      t.true(
        ['corrupt', 'refused'].includes(found) || (found === 'whole' && recipients.length === 0),
        `${at}: ${found}`,
      )
    }
  }
  t.is(await outcome(await fileOf([keys.recipient]), []), 'refused')
  t.is(await outcome(await fileOf([keys.recipient]), [newAgeKeys().identity]), 'refused')
  t.is(await outcome(randomBytes(10_000), []), 'corrupt')
})

withTools('a backup that is not encrypted is read by tar, zstd and sha256sum', async (t) => {
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, 'b.tar.zst'), await fileOf([]))
  execFileSync('/bin/sh', ['-ec', 'zstd -qdc b.tar.zst | tar x && sha256sum --quiet --strict -c sums'], {
    cwd: directory,
  })
  t.is(readFileSync(join(directory, 'tables/t/000002.ndjson'), 'utf8'), PIECES[1]?.text ?? '')
  t.is(statSync(join(directory, 'keys/k')).mode & 0o777, 0o600)
})

async function* broken() {
  yield Buffer.from('half')
  throw new FleetError('unavailable', 'gone')
}

const dayOf = (t: ExecutionContext, day: number, station = STATION) => {
  t.true(day < 28)
  return nameOf({ station, id: `id${day + 1_000}`, at: new Date(Date.UTC(2026, 0, day + 1)), encrypted: day % 2 === 0 })
}

test('the newest stay, others are left alone, and a run that fails leaves nothing and takes nothing', async (t) => {
  const directory = temporaryDirectory(t)
  for (const day of [3, 1, 0, 2]) await shelve(directory, dayOf(t, day), inPieces(Buffer.from('x')))
  const others = [dayOf(t, 0, 'fedcba98-0000'), 'notes.txt', `${dayOf(t, 9)}.partial`]
  for (const name of others) writeFileSync(join(directory, name), '')
  await t.throwsAsync(shelve(directory, dayOf(t, 4), broken()), { code: 'unavailable' })
  t.is(readdirSync(directory).length, 4 + others.length)
  await t.throwsAsync(shelve(join(directory, 'none'), 'x', broken()), { code: 'not_found', message: /is not there/ })
  t.is(await findBackup(directory), join(directory, dayOf(t, 3)))

  const { path: made } = await shelve(directory, dayOf(t, 5), inPieces(Buffer.from('x')))
  const gone = await evict(directory, { station: STATION, keep: 2, made })
  t.deepEqual(gone.map((path) => path.replace(/.*\//, '')).toSorted(), [0, 1, 2].map((day) => dayOf(t, day)).toSorted())
  t.deepEqual(await shelved(directory, STATION), [dayOf(t, 5), dayOf(t, 3)])
  t.true(others.every((name) => readdirSync(directory).includes(name)))

  // The clock was a year ahead once; what was just made stays all the same.
  utimesSync(join(directory, `${dayOf(t, 9)}.partial`), 0, 0)
  await shelve(
    directory,
    nameOf({ station: STATION, id: 'ahead', at: new Date('2027-01-01'), encrypted: false }),
    inPieces(Buffer.from('x')),
  )
  const { path: now } = await shelve(directory, dayOf(t, 6), inPieces(Buffer.from('x')))
  await evict(directory, { station: STATION, keep: 1, made: now })
  t.deepEqual(await shelved(directory, STATION), [dayOf(t, 6)])
  t.false(readdirSync(directory).some((name) => name.endsWith('.partial')))
})

test('one is made when it is due, again an hour after it failed, and somebody is told when it is missing', (t) => {
  const [hour, dueMs] = [3_600_000, 1_000 * 3_600_000]
  const none = { dueMs, goodMs: dueMs - hour, failedMs: null, runningMs: null }
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs }), { run: true, overdue: false })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs, goodMs: null }), { run: true, overdue: false })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2 * hour }), { run: true, overdue: true })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2 * hour, runningMs: dueMs + 1.5 * hour }), {
    run: true,
    overdue: false,
  })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2 * hour, goodMs: dueMs }), { run: false, overdue: false })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2, failedMs: dueMs + 1 }), { run: false, overdue: true })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2 * hour, failedMs: dueMs + 1 }), { run: true, overdue: true })
  t.deepEqual(decideBackup({ ...none, nowMs: dueMs + 2, failedMs: dueMs - 1 }), { run: true, overdue: false })
})
