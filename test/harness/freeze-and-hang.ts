import { createDockerDriver } from '../../agent/instances/docker/docker-driver.ts'
import type { Instances } from '../../agent/instances/instances.ts'
import { createLibvirtDriver } from '../../agent/instances/libvirt/libvirt-driver.ts'
import { createLxcDriver } from '../../agent/instances/lxc/lxc-driver.ts'
import { createWatchdogs } from '../../agent/instances/watchdog.ts'
import type { InstanceType } from '../../shared/instance-spec.ts'

/**
 * A process to be killed: freezes an instance, says `frozen`, and hangs until a line comes; then it thaws and says how the freeze ended.
 * Argument: JSON `{type, place, id, maxMs, notes}`; `place` is LXC's folder, the engine's socket or libvirt's URI.
 */
const { type, place, id, maxMs, notes } = JSON.parse(process.argv[2] ?? '{}')
const watchdogs = createWatchdogs(notes)
const DRIVERS: Readonly<Record<InstanceType, () => Instances>> = {
  lxc: () => createLxcDriver({ folder: place, watchdogs }),
  docker: () => createDockerDriver({ socketPath: place, watchdogs }),
  libvirt: () => createLibvirtDriver({ uri: place, watchdogs, volumeAt: () => undefined }),
}
// as: what the contract asks for
const driver = DRIVERS[type as InstanceType]()
process.stdout.write('begins\n')
const freeze = await driver.freeze({ id, maxMs, signal: new AbortController().signal })
process.stdout.write('frozen\n')
process.stdin.once('data', async () => {
  const { intact } = await freeze.thaw()
  process.stdout.write(`intact ${intact}\n`)
  process.exit(0)
})
