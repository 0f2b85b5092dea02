import { randomUUID } from 'node:crypto'
import { appendFileSync, readFileSync, renameSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { hashExports } from '../../shared/exports-hash.ts'
import { makeImage } from '../../test/contracts/export-contract.ts'
import { holdSession, holds, lacksInitiator } from '../../test/harness/initiator.ts'
import { INITIATOR, keeperRoom } from '../../test/harness/keeper-room.ts'
import { lacksTool, testUnless } from '../../test/harness/system-packages.ts'
import { until } from '../../test/harness/until.ts'
import { exportPage } from '../host/export-page.ts'
import { hasTgt } from './open-exports.ts'

const onTgt = testUnless(
  lacksTool('tgtd') ?? lacksInitiator() ?? (hasTgt() ? undefined : 'tgtd takes orders of root alone'),
)
const { signal } = new AbortController()

onTgt('exports are back after tgtd was killed, and after the agent ended, with their secrets', async (t) => {
  const { begin, wanted, login, tgtds, log } = await keeperRoom(t)
  const exports = await begin()
  t.deepEqual(tgtds(), [], 'nothing runs before something is exported')
  const [one, two] = [wanted('one', 0x41), wanted('two', 0x42)]
  const chap = { user: 'al', secret: 'secretsecret12' }
  const guarded = { ...two, access: { ...two.access, chapUser: 'al' }, chap }
  t.deepEqual(await exports.add([one, guarded], signal), [undefined, undefined])
  t.is(statSync(log).mode & 0o777, 0o600)
  t.is(exports.hash(), hashExports([one, guarded]))
  for (const pid of tgtds()) process.kill(pid, 'SIGKILL')
  await until('the export is back', async () => await holds(login(one), 0x41))
  await exports[Symbol.asyncDispose]()
  t.deepEqual(tgtds(), [], 'tgtd ends with its agent')

  // What nobody can read, and a write that was cut off.
  appendFileSync(log, 'not a line\n{"op":"drop","wwn":"iqn.2026-01.test.kee')
  const again = await begin()
  t.true(readFileSync(`${log}.unreadable`, 'utf8').includes('not a line'))
  t.is(await holds(login(one), 0x41), true)
  t.is(await holds(login(two), 0x42), undefined)
  t.like(
    (await again.standing(signal)).find(({ wwn }) => wwn === two.wwn),
    { hasChap: true },
  )
  t.deepEqual(await again.remove([{ wwn: one.wwn, force: false }], signal), [undefined])
  await again[Symbol.asyncDispose]()
  const last = await begin()
  t.deepEqual(
    last.kept().map(({ wwn }) => wwn),
    [two.wwn],
  )
})

onTgt('a tgtd that outlives its agent is taken over with its sessions, and loses what is kept no more', async (t) => {
  const { begin, wanted, login, tgtds, log, state, portal } = await keeperRoom(t)
  const exports = await begin({ outlives: true })
  const [one, two] = [wanted('one', 0x41), wanted('two', 0x42)]
  await exports.add([one, two], signal)
  const first = await exportPage(exports, { limit: 1 }, signal)
  t.like(first, { technology: 'tgt', lun: 1, portals: [portal], next: one.wwn })
  t.like(first.items, [{ wwn: one.wwn, standing: true, sessions: [] }])
  t.like(await exportPage(exports, { limit: 1, cursor: one.wwn }, signal), { items: [{ wwn: two.wwn }], next: null })
  const before = tgtds()
  const session = await holdSession(login(one))
  t.teardown(() => session.end())
  await exports[Symbol.asyncDispose]()
  t.true(await session.reads())
  t.is(await holds(login(one), 0x41), true)
  const lines = readFileSync(log, 'utf8').split('\n')
  const other = join(state, 'other.log')
  appendFileSync(other, lines.filter((line) => !line.includes(two.wwn)).join('\n'))
  renameSync(other, log)
  const again = await begin({ outlives: true })
  t.deepEqual(tgtds(), before)
  t.like(await again.standing(signal), [{ wwn: one.wwn, device: one.device, sessions: [{ initiator: INITIATOR }] }])
  t.true(await session.reads())
  t.like((await again.remove([{ wwn: one.wwn, force: false }], signal))[0], { code: 'conflict' })
  await again[Symbol.asyncDispose]()
  const none = await begin({ technology: 'none' })
  await until('nothing is exported any more where nothing is to be', () => tgtds().length === 0)
  t.deepEqual(none.kept(), [])
  await session.end()
})

onTgt('another volume, or another one by now, never stands under a target of the first', async (t) => {
  const { begin, wanted, login, volumes, state } = await keeperRoom(t)
  const exports = await begin()
  const [one, two] = [wanted('one', 0x41), wanted('two', 0x42)]
  await exports.add([one], signal)
  const answers = await exports.add([{ ...two, wwn: one.wwn }, { ...one, guid: 'new' }, two, two], signal)
  t.like(answers, [{ code: 'conflict' }, { code: 'conflict' }, undefined, { code: 'conflict' }])
  t.is(exports.kept().length, 2)
  const [failed] = await exports.add([{ ...two, wwn: `${two.wwn}-again` }], signal)
  t.like(failed, { code: 'conflict', blockers: [two.wwn] }, 'one volume in two targets')
  const three = wanted('three', 0x43)
  const twins = await exports.add([three, { ...three, wwn: `${three.wwn}-again` }], signal)
  t.like(twins, [undefined, { code: 'conflict', blockers: [three.wwn] }])
  await exports.remove([{ wwn: three.wwn, force: false }], signal)
  t.is(exports.kept().length, 2, 'what was not made is not kept')
  await exports[Symbol.asyncDispose]()

  renameSync(one.device, join(state, 'away'))
  makeImage(one.device, 0x66)
  volumes.set('one', { device: one.device, guid: randomUUID() })
  const again = await begin()
  t.is(await holds(login(one), 0x66), undefined)
  t.is(await holds(login(two), 0x42), true)
  t.is(again.kept().length, 2, 'it is wanted all the same')
  volumes.set('one', one)
  renameSync(join(state, 'away'), one.device)
  await until('it is back with its volume', async () => await holds(login(one), 0x41))
})

onTgt('where the portal is somebody else’s, exports are unavailable until it is free', async (t) => {
  const { begin, wanted, login, portal } = await keeperRoom(t)
  const somebody = createServer()
  const port = Number(portal.split(':')[1])
  await new Promise<void>((resolve) => somebody.listen(port, '127.0.0.1', resolve))
  const exports = await begin()
  const one = wanted('one', 0x41)
  t.like((await exports.add([one], signal))[0], { code: 'unavailable' })
  t.deepEqual(exports.kept(), [])
  await new Promise((resolve) => somebody.close(resolve))
  t.deepEqual(await exports.add([one], signal), [undefined])
  t.is(await holds(login(one), 0x41), true)
})

onTgt(
  'a volume is replaced under its exports only while nobody is logged in, and no session outlives it',
  async (t) => {
    const { begin, wanted, login, volumes, state } = await keeperRoom(t)
    const exports = await begin()
    const one = wanted('one', 0x41)
    await exports.add([one], signal)
    const other = { device: one.device, guid: randomUUID() }
    const swap = async () => {
      makeImage(join(state, 'other'), 0x66)
      renameSync(join(state, 'other'), one.device)
      volumes.set('one', other)
      return { ...other, more: true }
    }
    const never = () => Promise.reject(new Error('it was called'))
    const session = await holdSession(login(one))
    t.like(await exports.sessionsOf(one.place, signal), [{ wwn: one.wwn, initiator: INITIATOR }])
    const refused = await t.throwsAsync(exports.replace(one.place, never, signal))
    t.like(refused, { code: 'conflict', blockers: [one.wwn] })
    t.true(await session.reads())
    await session.end()
    await until('it has logged out', async () => (await exports.sessionsOf(one.place, signal)).length === 0)

    await t.throwsAsync(exports.replace(one.place, never, signal), { message: 'it was called' })
    t.is(await holds(login(one), 0x41), true, 'it is open again as it was')
    t.like(await exports.replace(one.place, swap, signal), { more: true })
    t.like(exports.find(one.wwn), { guid: other.guid, exportId: one.exportId })
    t.like(await exports.standing(signal), [{ wwn: one.wwn, guid: other.guid, initiators: [INITIATOR] }])
    t.is(await holds(login(one), 0x66), true)
    const nobodys = { pool: 'a', volume: 'none' }
    t.deepEqual(await exports.replace(nobodys, async () => other, signal), other)
    await exports[Symbol.asyncDispose]()
    const again = await begin()
    t.is(await holds(login(one), 0x66), true)
    t.is(again.kept().length, 1)
  },
)
