import { randomBytes } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { newId } from '../../shared/ids.ts'
import { startDatabase } from '../../test/harness/database.ts'
import { DEFAULT_GROUP_ID } from '../core/caller.ts'
import { createSecretStore } from '../db/stores/secret-store.ts'
import { checkKeys } from './check-keys.ts'
import { parseKeyring } from './keyring.ts'
import { rotateSecrets } from './rotate.ts'
import { createSecrets } from './secrets.ts'
import { createVault } from './vault.ts'

const newKey = () => randomBytes(32).toString('base64')

async function open(t: ExecutionContext) {
  const { db, sql } = await startDatabase(t)
  const rows = createSecretStore(sql)
  const as = (...texts: string[]) => {
    const keys = parseKeyring(texts.join(','))
    const vault = createVault(keys)
    const deps = { rows, vault, keys }
    return { check: () => checkKeys(deps), rotate: () => rotateSecrets(deps), secrets: createSecrets(deps), keys }
  }
  return { db, as }
}

const secret = (text: string) => ({ groupId: DEFAULT_GROUP_ID, kind: 'target-password', bytes: Buffer.from(text) })

test('a secret is kept, replaced, opened and deleted; Postgres never has it in the clear', async (t) => {
  const { db, as } = await open(t)
  const { secrets } = as(newKey())
  const id = await secrets.put(secret('hunter2'))
  t.is((await secrets.open(id)).toString(), 'hunter2')
  await secrets.replace(id, Buffer.from('hunter3'))
  t.is((await secrets.open(id)).toString(), 'hunter3')
  const [row] = await db.query('select sealed, version from secret')
  t.false(row.sealed.includes('hunter'))
  t.is(row.version, '2')
  await secrets.delete(id)
  await secrets.delete(id)
  await t.throwsAsync(secrets.open(id), { code: 'not_found' })
  await t.throwsAsync(secrets.replace(newId(), Buffer.from('x')), { code: 'not_found' })
})

test('a sealed value that was moved to another row or group does not open', async (t) => {
  const { db, as } = await open(t)
  const { secrets } = as(newKey())
  const [mine, theirs] = [await secrets.put(secret('mine')), await secrets.put(secret('theirs'))]
  await db.query('update secret set sealed = (select sealed from secret where id = $1) where id = $2', [theirs, mine])
  await t.throwsAsync(secrets.open(mine), { code: 'internal', message: 'a secret cannot be opened' })
  await db.query('update secret set group_id = null where id = $1', [theirs])
  await t.throwsAsync(secrets.open(theirs), { code: 'internal' })
})

test('a key that is not the one of the database is found at the start, by name of the setting', async (t) => {
  const { as } = await open(t)
  const [first, second] = [newKey(), newKey()]
  await as(first).check()
  await as(first).check()
  await as(second, first).check()
  await t.throwsAsync(as(second).check(), { message: /^HOLDFAST_SECRETS_KEY_FILE .*not among those given/ })
})

test('rotation seals every row with the newest key, once, and goes on where it was stopped', async (t) => {
  const { db, as } = await open(t)
  const [first, second] = [newKey(), newKey()]
  const old = as(first)
  await old.check()
  const ids: string[] = []
  for (let n = 0; n < 250; n += 1) ids.push(await old.secrets.put(secret(`s${n}`)))
  const both = as(second, first)
  const some = await both.secrets.put(secret('new'))
  t.like(await both.rotate(), { resealed: 251, unopened: [], current: 252 })
  t.like(await both.rotate(), { resealed: 0, current: 252 })
  const young = as(second)
  await young.check()
  t.is((await young.secrets.open(ids[249] ?? '')).toString(), 's249')
  t.is((await young.secrets.open(some)).toString(), 'new')

  await db.query(`update secret set sealed = sealed || '\\x00', key_id = 'x' where id = $1`, [ids[0]])
  t.like(await young.rotate(), { resealed: 0, unopened: [{ id: ids[0], kind: 'target-password' }], current: 251 })
})

test('rotations at the same time do not disturb each other', async (t) => {
  const { as } = await open(t)
  const [first, second] = [newKey(), newKey()]
  for (let n = 0; n < 150; n += 1) await as(first).secrets.put(secret(`s${n}`))
  const done = await Promise.all([as(second, first).rotate(), as(second, first).rotate()])
  t.is(done[0].resealed + done[1].resealed, 150)
})
