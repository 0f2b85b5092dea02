import { createHash, randomBytes } from 'node:crypto'
import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { parseKeyring } from './keyring.ts'
import { createVault } from './vault.ts'

const key = () => randomBytes(32).toString('base64')
const place = { table: 'secret', id: '1', field: 'sealed' }
const secret = Buffer.from('hunter2')

const whyNot = (open: () => unknown): string => {
  try {
    open()
    return 'opened'
  } catch (error) {
    return error instanceof FleetError ? `${error.message} ${error.detail}` : String(error)
  }
}

test('what was sealed opens in its place alone', (t) => {
  const vault = createVault(parseKeyring(key()))
  const sealed = vault.seal(place, secret)
  t.deepEqual(vault.open(place, sealed), secret)
  t.false(sealed.includes(secret))
  t.notDeepEqual(vault.seal(place, secret), sealed)
  for (const elsewhere of [
    { ...place, id: '2' },
    { ...place, field: 'x' },
    { ...place, table: 'x' },
  ]) {
    t.regex(
      whyNot(() => vault.open(elsewhere, sealed)),
      /changed, or moved/,
    )
  }
})

test('a sealed value with any byte changed does not open', (t) => {
  const vault = createVault(parseKeyring(key()))
  const sealed = vault.seal(place, secret)
  for (const n of sealed.keys()) {
    const changed = Buffer.from(sealed)
    changed[n] = (changed[n] ?? 0) ^ 1
    t.not(
      whyNot(() => vault.open(place, changed)),
      'opened',
      `byte ${n}`,
    )
  }
  t.regex(
    whyNot(() => vault.open(place, sealed.subarray(0, 20))),
    /not a sealed value/,
  )
})

test('the first key seals, all open', (t) => {
  const [old, young] = [key(), key()]
  const sealed = createVault(parseKeyring(old)).seal(place, secret)
  const both = createVault(parseKeyring(`# newest first\n${young}\n${old}\n`))
  t.deepEqual(both.open(place, sealed), secret)
  t.deepEqual(createVault(parseKeyring(young)).open(place, both.seal(place, secret)), secret)
  t.regex(
    whyNot(() => createVault(parseKeyring(young)).open(place, sealed)),
    /not among ours/,
  )
})

test('marks hold for their bytes and their key', (t) => {
  const vault = createVault(parseKeyring(key()))
  const mark = vault.mark(secret)
  t.true(vault.checkMark(secret, mark))
  t.false(vault.checkMark(Buffer.from('other'), mark))
  t.false(vault.checkMark(secret, { ...mark, bytes: Buffer.alloc(0) }))
  t.false(createVault(parseKeyring(key())).checkMark(secret, mark))
})

test('fingerprints are made with a key, and found again under a newer one', (t) => {
  const [old, young] = [key(), key()]
  const [before] = createVault(parseKeyring(old)).fingerprints(secret)
  const [now, ...earlier] = createVault(parseKeyring(`${young},${old}`)).fingerprints(secret)
  t.deepEqual(earlier, [before])
  t.not(now, before)
  t.regex(now, /^[0-9a-f]{64}$/)
  t.not(before, createHash('sha256').update(secret).digest('hex'))
  t.not(before, createVault(parseKeyring(old)).mark(secret).bytes.toString('hex'))
})

test('a key that is not usable is named by its number, never shown', (t) => {
  const good = key()
  for (const [text, why] of [
    ['', 'holds no key'],
    ['# nothing', 'holds no key'],
    [`${good},c2hvcnQ=`, 'key 2 is not 32 bytes in base64'],
    ['correct horse battery staple', 'key 1 is not 32 bytes in base64'],
    [`${good},${good}`, 'holds one key twice'],
  ] as const) {
    t.throws(() => parseKeyring(text), { message: why })
  }
})
