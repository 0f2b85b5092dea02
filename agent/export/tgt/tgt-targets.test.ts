import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { createLogger } from '../../../shared/logger.ts'
import { type ExportSubject, exportContract, makeImage } from '../../../test/contracts/export-contract.ts'
import { freePort } from '../../../test/harness/free-port.ts'
import { beginLogin } from '../../../test/harness/half-login.ts'
import { holdSession, lacksInitiator } from '../../../test/harness/initiator.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { hasTgt } from '../open-exports.ts'
import { openTgtTargets } from './tgt-targets.ts'

const reason = lacksTool('tgtd', 'iscsi-inq', 'iscsi-readcapacity16') ?? lacksInitiator()
const onTgt = testUnless(reason ?? (hasTgt() ? undefined : 'tgtd takes orders of root alone'))

async function open(t: ExecutionContext): Promise<ExportSubject> {
  const folder = mkdtempSync('/var/tmp/holdfast-tgt-')
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const portal = `127.0.0.1:${await freePort()}`
  const settings = { directory: join(folder, 'tgtd'), portals: [portal], outlives: false }
  const targets = openTgtTargets(settings, createLogger('test', 'silent'))
  t.teardown(() => targets.close())
  return {
    targets,
    portal,
    async volume(name, byte) {
      const device = join(folder, name)
      makeImage(device, byte)
      return { device, guid: randomUUID() }
    },
    grow: async (device, sizeBytes) => truncateSync(device, sizeBytes),
  }
}

exportContract(onTgt, open)

onTgt('a login that began before its target was changed never ends as another one, nor stays', async (t) => {
  const { targets, portal, volume } = await open(t)
  const { signal } = new AbortController()
  const [alice, bob, eve] = ['alice', 'bob', 'eve'].map((name) => `iqn.2026-01.test.half:${name}`) as [
    string,
    string,
    string,
  ]
  const one = { ...(await volume('one', 0x41)), wwn: 'iqn.2026-01.test.half' }
  const login = (initiator: string) => ({ portal, target: one.wwn, lun: targets.lun, initiator })
  const apply = async (initiators: readonly string[], chap?: { user: string; secret: string }) =>
    t.deepEqual(await targets.apply([{ ...one, access: { initiators, chap } }], signal), [undefined])
  const changed = async (change: () => Promise<unknown>) => {
    await apply([alice])
    const half = await beginLogin(login(alice))
    t.teardown(() => half.end())
    await change()
    return half
  }
  const remove = () => targets.remove([{ wwn: one.wwn, force: true }], signal)

  const undisturbed = await changed(async () => undefined)
  t.true(await undisturbed.finish())
  undisturbed.end()
  t.false(await (await changed(() => apply([bob]))).finish(), 'nobody of before is listed')
  t.false(await (await changed(() => apply([alice], { user: 'al', secret: 'secretsecret12' }))).finish(), 'a secret')
  const again = await changed(async () => {
    await remove()
    await apply([bob])
  })
  t.false(await again.finish(), 'the same volume, exported again')

  await remove()
  await apply([alice, bob])
  const [late, stays] = [await beginLogin(login(alice)), await holdSession(login(bob))]
  t.teardown(() => late.end())
  t.teardown(() => stays.end())
  await apply([bob, eve])
  t.true(await late.finish(), 'tgtd knows no better')
  await until('the late session is ended', () => late.isClosed())
  t.true(await stays.reads())
})
