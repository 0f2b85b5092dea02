import { createDockerDriver } from '../../agent/instances/docker/docker-driver.ts'
import { createLxcDriver } from '../../agent/instances/lxc/lxc-driver.ts'
import { createWatchdogs } from '../../agent/instances/watchdog.ts'

/**
 * A process to be killed: freezes an instance, says `frozen`, and hangs until a line comes; then it thaws and says how the freeze ended.
 * Argument: JSON `{type, place, id, maxMs, notes}`; `place` is LXC's folder or the engine's socket.
 */
const { type, place, id, maxMs, notes } = JSON.parse(process.argv[2] ?? '{}')
const watchdogs = createWatchdogs(notes)
const driver =
  type === 'lxc' ? createLxcDriver({ folder: place, watchdogs }) : createDockerDriver({ socketPath: place, watchdogs })
process.stdout.write('begins\n')
const freeze = await driver.freeze({ id, maxMs, signal: new AbortController().signal })
process.stdout.write('frozen\n')
process.stdin.once('data', async () => {
  const { intact } = await freeze.thaw()
  process.stdout.write(`intact ${intact}\n`)
  process.exit(0)
})
