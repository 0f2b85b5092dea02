/**
 * The exporting side of `two-hosts.sh`, on what an agent uses: volumes on ZFS, targets of LIO, and the keeper that makes them again.
 *
 *     exporter.ts make POOL STATE PORTAL WWN INITIATOR    a clone of a volume with `golden` in it, for this initiator
 *     exporter.ts restore POOL STATE PORTAL               what is kept in STATE stands again; prints it with its sessions
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { openExportKeeper } from '../../agent/export/keeper.ts'
import { openLioTargets } from '../../agent/export/lio/lio-targets.ts'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { newId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/logger.ts'
import { watch } from '../contracts/driver-contract.ts'

const [action, pool = '', state = '', portal = '', wwn = '', initiator = ''] = process.argv.slice(2)
const volumes = await openZfsVolumes(pool)
const targets = await openLioTargets({ portals: [portal] })
await using keeper = openExportKeeper({
  targets,
  path: join(state, 'exports.log'),
  findVolume: ({ volume }) => volumes.find(volume),
  logger: createLogger('exporter', 'info'),
})

if (action === 'make') {
  const golden = await volumes.create({ volume: 'golden', sizeBytes: 2 ** 26, createParent: false }, watch)
  await volumes.settle([golden], watch)
  const disk = await open(golden.device, 'r+')
  await disk.write(Buffer.from('golden'.padEnd(4096, '\0')), 0, 4096, 0)
  await disk.sync()
  await disk.close()
  await volumes.snapshot({ volume: 'golden', snapshot: 's' }, watch)
  const source = { volume: 'golden', snapshot: 's' }
  const [clone] = await volumes.clone([{ source, target: 'nodes/n1', createParent: true }], watch)
  if (clone === undefined || clone instanceof Error) throw clone
  await volumes.settle([clone.volume], watch)
  const { device, guid } = clone.volume
  const access = { initiators: [initiator], chapUser: null }
  const kept = { exportId: newId(), wwn, place: { pool: 'a', volume: 'nodes/n1' }, access, device, guid }
  const [failure] = await keeper.add([{ ...kept, chap: undefined }], watch.signal)
  if (failure) throw failure
} else {
  await keeper.restore(watch.signal)
}
for (const standing of await keeper.standing(watch.signal)) process.stdout.write(`${JSON.stringify(standing)}\n`)
