/**
 * What a clone of a zvol and its target cost here, and what the plain tools take for the same: `node test/lab/compare.ts [count]`, as root on
 * a host with ZFS, LIO and targetcli. Makes a zpool in a file below /var/tmp, and removes all it made.
 */
import { execFileSync } from 'node:child_process'
import { openLioTargets } from '../../agent/export/lio/lio-targets.ts'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { findTool } from '../../deploy/tools.ts'
import { watch } from '../contracts/driver-contract.ts'
import { freePort } from '../harness/free-port.ts'
import { lacksLio, lacksZfs, makeRoom, tool } from './room.ts'

const NAME = 'iqn.2026-01.test.lab'
const INITIATOR = `${NAME}:host`
const { signal } = watch
const reason = lacksZfs() ?? lacksLio()
if (reason !== undefined) throw new Error(reason)

const count = Number(process.argv[2] ?? 10)
const room = makeRoom()
const port = await freePort()
const volumes = await openZfsVolumes(room.pool)
const targets = await openLioTargets({ portals: [`127.0.0.1:${port}`] })
const names = Array.from({ length: count }, (_, n) => `d${n}`)
try {
  await volumes.create({ volume: 'golden', sizeBytes: 2 ** 26, createParent: false }, watch)
  await volumes.snapshot({ volume: 'golden', snapshot: 's' }, watch)
  tool('udevadm', 'wait', '--timeout=60', `/dev/zvol/${room.pool}/golden`)
  await timed('warm-up', 1, () => ours(['warm']))
  await volumes.destroy('warm', watch)
  await timed('one at a time: a clone and its target', count, async () => {
    for (const name of names) await ours([name])
  })
  await timed('one at a time: destroyed', count, () => gone(names))
  await timed('in one call: clones and their targets', count, () => ours(names))
  await timed('in one call: destroyed', count, () => gone(names))
  if (findTool('targetcli') !== undefined) {
    await timed('plain tools: zfs clone, udevadm wait, targetcli', count, async () => plain())
    await timed('plain tools: destroyed', count, async () => unplain())
  }
} finally {
  await targets.close()
  room.close()
}

async function timed(what: string, each: number, act: () => Promise<void>): Promise<void> {
  const begun = performance.now()
  await act()
  const ms = performance.now() - begun
  process.stdout.write(
    `${what.padEnd(50)} ${ms.toFixed(0).padStart(8)} ms, ${(ms / each).toFixed(0).padStart(6)} ms each\n`,
  )
}

async function ours(some: readonly string[]): Promise<void> {
  const source = { volume: 'golden', snapshot: 's' }
  const requests = some.map((target) => ({ source, target, createParent: true }))
  const clones = (await volumes.clone(requests, watch)).map((one) => {
    if (one instanceof Error) throw one
    return one.volume
  })
  await volumes.settle(clones, watch)
  const access = { initiators: [INITIATOR], chap: undefined }
  const wanted = clones.map(({ path, device, guid }) => ({ wwn: `${NAME}:${path}`, device, guid, access }))
  for (const failure of await targets.apply(wanted, signal)) if (failure) throw failure
  if (some[0] === 'warm') await targets.remove([{ wwn: `${NAME}:warm`, force: true }], signal)
}

async function gone(some: readonly string[]): Promise<void> {
  const asked = some.map((name) => ({ wwn: `${NAME}:${name}`, force: true }))
  for (const failure of await targets.remove(asked, signal)) if (failure) throw failure
  await Promise.all(some.map((name) => volumes.destroy(name, watch)))
}

/** One process of targetcli for each target, its commands on stdin: what a script does. */
function targetcli(...lines: readonly string[]): void {
  const input = `${lines.join('\n')}\nexit\n`
  execFileSync(findTool('targetcli') ?? '', { input, stdio: ['pipe', 'ignore', 'ignore'] })
}

function plain(): void {
  for (const name of names) {
    tool('zfs', 'clone', `${room.pool}/golden@s`, `${room.pool}/${name}`)
    tool('udevadm', 'wait', '--timeout=60', `/dev/zvol/${room.pool}/${name}`)
    const at = `/iscsi/${NAME}:${name}`
    targetcli(
      `/backstores/block create name=${name} dev=/dev/zvol/${room.pool}/${name}`,
      `/iscsi create ${NAME}:${name}`,
      `${at}/tpg1/luns create /backstores/block/${name}`,
      `${at}/tpg1/acls create ${INITIATOR}`,
    )
  }
}

function unplain(): void {
  for (const name of names) {
    targetcli(`/iscsi delete ${NAME}:${name}`, `/backstores/block delete ${name}`)
    tool('zfs', 'destroy', `${room.pool}/${name}`)
  }
}
