import { execFile, execFileSync } from 'node:child_process'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findTool } from '../../deploy/tools.ts'
import {
  type ControlRequest,
  type Fate,
  interceptControl,
  TGT_MODES,
  TGT_OPERATIONS,
} from '../../test/harness/control-proxy.ts'
import { holds, type Login, lacksInitiator } from '../../test/harness/initiator.ts'
import { INITIATOR, keeperRoom } from '../../test/harness/keeper-room.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { lacksTool, testUnless } from '../../test/harness/system-packages.ts'
import { until } from '../../test/harness/until.ts'
import type { LoggedExport } from './export-log.ts'
import { openExportLog } from './export-log.ts'
import { hasTgt } from './open-exports.ts'

const reason = lacksTool('tgtd', 'iscsi-inq') ?? lacksInitiator()
const onTgt = testUnless(reason ?? (hasTgt() ? undefined : 'tgtd takes orders of root alone'))
const asRoot = testUnless(process.getuid?.() === 0 ? undefined : 'mounting needs root')
const { signal } = new AbortController()

/** Once, the nth request that is `of`. */
function once(of: (request: ControlRequest) => boolean, fate: Fate, nth = 1): (request: ControlRequest) => Fate {
  let seen = 0
  return (request) => {
    if (!of(request)) return 'pass'
    seen += 1
    return seen === nth ? fate : 'pass'
  }
}

const isBind = ({ mode, operation }: ControlRequest) => mode === TGT_MODES.target && operation === TGT_OPERATIONS.bind
const isUnitsEnd = ({ mode, operation }: ControlRequest) =>
  mode === TGT_MODES.unit && operation === TGT_OPERATIONS.delete
const isNaming = ({ mode, operation }: ControlRequest) => mode === TGT_MODES.unit && operation === TGT_OPERATIONS.update

async function enters({ portal, target, lun }: Login, user: string, secret: string): Promise<boolean> {
  const url = `iscsi://${user}%${secret}@${portal}/${target}/${lun}`
  const asked = promisify(execFile)(findTool('iscsi-inq') ?? '', ['-i', INITIATOR, url], { timeout: 10_000 })
  return asked.then(
    () => true,
    () => false,
  )
}

onTgt('an export that fails when its target stands already leaves none', async (t) => {
  const { begin, wanted, login, state } = await keeperRoom(t)
  const exports = await begin()
  const [one, two] = [wanted('one', 0x41), wanted('two', 0x42)]
  await exports.add([one], signal)
  const access = { initiators: [INITIATOR, `${INITIATOR}-2`], chapUser: null }
  {
    await using _ = await interceptControl(join(state, 'tgtd'), once(isBind, 'lose', 2))
    t.like((await exports.add([{ ...two, access }], signal))[0], { code: 'unavailable' })
  }
  t.deepEqual(
    exports.kept().map(({ wwn }) => wwn),
    [one.wwn],
  )
  t.deepEqual(
    (await exports.standing(signal)).map(({ wwn }) => wwn),
    [one.wwn],
  )
  t.is(await holds(login(two), 0x42), undefined)
  t.deepEqual(await exports.add([{ ...two, access }], signal), [undefined])
})

onTgt('of a change of secrets that fails in its last step the old one is back', async (t) => {
  const { begin, wanted, login, state } = await keeperRoom(t)
  const exports = await begin()
  const one = wanted('one', 0x41)
  const asking = (secret: string) => ({
    ...one,
    access: { ...one.access, chapUser: 'al' },
    chap: { user: 'al', secret },
  })
  await exports.add([asking('secretsecret12')], signal)
  t.true(await enters(login(one), 'al', 'secretsecret12'))
  {
    await using _ = await interceptControl(join(state, 'tgtd'), once(isBind, 'lose'))
    t.like((await exports.add([asking('anothersecret')], signal))[0], { code: 'unavailable' })
  }
  await until('the old secret is asked for', () => enters(login(one), 'al', 'secretsecret12'))
  t.false(await enters(login(one), 'al', 'anothersecret'))
})

onTgt('a removal or a resize that fails half way leaves the export open', async (t) => {
  const { begin, wanted, login, state } = await keeperRoom(t)
  const exports = await begin()
  const one = wanted('one', 0x41)
  await exports.add([one], signal)
  const intercepted = async (of: typeof isBind, act: () => Promise<unknown>) => {
    await using _ = await interceptControl(join(state, 'tgtd'), once(of, 'refuse'))
    await act()
  }
  await intercepted(isUnitsEnd, async () => {
    t.like((await exports.remove([{ wwn: one.wwn, force: false }], signal))[0], { code: 'internal' })
  })
  await until('it is open again', async () => await holds(login(one), 0x41))
  await intercepted(isNaming, () => t.throwsAsync(exports.resized(one.place, signal)))
  await until('it is open again', async () => await holds(login(one), 0x41))

  // With nothing to show it is shut, until there is.
  const away = join(state, 'away')
  renameSync(one.device, away)
  t.like(await t.throwsAsync(exports.resized(one.place, signal)), { code: 'unavailable' })
  t.deepEqual(
    (await exports.standing(signal)).flatMap(({ initiators }) => initiators),
    [],
  )
  renameSync(away, one.device)
  await until('it is open again', async () => await holds(login(one), 0x41))
})

asRoot('what a full disk cut off of the log was told to nobody, and what comes behind it is kept', (t) => {
  const folder = temporaryDirectory(t)
  execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=128k', 'none', folder])
  t.teardown(() => execFileSync('/bin/umount', ['--lazy', folder]))
  const path = join(folder, 'exports.log')
  const one = (n: number): LoggedExport => ({
    exportId: '01900000-0000-7000-8000-000000000001',
    wwn: `iqn.2026-01.test.log:${n}`,
    place: { pool: 'a', volume: `v${n}` },
    access: { initiators: [INITIATOR], chapUser: null },
    ...{ device: `/a/${n}`, guid: String(n), chap: undefined },
  })
  const log = openExportLog(path)
  log.keep([one(1), one(2)])
  const ballast = join(folder, 'ballast')
  t.throws(() => writeFileSync(ballast, Buffer.alloc(2 ** 20)), { code: 'ENOSPC' })
  const many = Array.from({ length: 100 }, (_, n) => one(100 + n))
  t.throws(() => log.keep(many), { code: 'ENOSPC' })
  t.is(log.exports.size, 2)
  // There is room in its last page: what is gone need not be kept because the disk is full.
  log.drop([one(1).wwn])
  const seen = readFileSync(path, 'utf8')
  t.false(seen.includes(one(100).wwn))
  rmSync(ballast)
  log.keep([one(3)])
  log.close()
  const again = openExportLog(path)
  t.is(again.unreadable, 0)
  t.deepEqual([...again.exports.values()], [one(2), one(3)])
  again.close()
})
