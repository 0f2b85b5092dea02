import { existsSync } from 'node:fs'
import { readdir, readlink, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FleetError } from '../../shared/errors.ts'
import { type Run, run } from '../exec/run.ts'

/** Where udev links the block devices of volumes, by their names. */
const LINKS = '/dev/zvol'
/** The host looks for no partitions, and so for no file systems or volume groups, in what belongs to others. */
export const VOLUME_MODE = 'volmode=dev'
const UDEVADM = '/usr/bin/udevadm'
const ZVOL_ID_PATHS = ['/usr/lib/udev/zvol_id', '/lib/udev/zvol_id']
/** Between two looks: a look costs a few microseconds, a child a few milliseconds. */
const LOOK_MS = 4
/** The link of a volume that was just made is looked for as long; what is lost is healed when it is settled. */
export const LINK_MS = 2_000
const WAIT_SECONDS = 20
const HEAL_TIMEOUT_MS = 60_000
const MAX_PARALLEL_LOOKS = 8

export function deviceOf(name: string): string {
  return `${LINKS}/${name}`
}

export async function isThere(device: string): Promise<boolean> {
  return stat(device).then(
    (status) => status.isBlockDevice(),
    () => false,
  )
}

/** @returns whether the device can be opened within `limitMs` */
export async function seen(device: string, limitMs: number, signal: AbortSignal): Promise<boolean> {
  for (let waited = 0; ; waited += LOOK_MS) {
    if (await isThere(device)) return true
    if (waited >= limitMs || signal.aborted) return false
    await sleep(LOOK_MS)
  }
}

/**
 * Waits for links; one that udevd lost is made again by an event for that one device. `udevadm settle` is of no use: it succeeds with
 * links missing. Seen with systemd 252 and ZFS 2.1.
 * @throws unavailable, naming a device that does not come
 */
export async function settleDevices(devices: readonly string[], signal: AbortSignal, exec: Run = run): Promise<void> {
  const late = await missing(devices)
  if (late.length === 0) return
  const options = { signal, timeoutMs: HEAL_TIMEOUT_MS }
  // Its exit code says less than a look.
  await exec(UDEVADM, ['wait', `--timeout=${WAIT_SECONDS}`, ...late], options)
  const lost = await missing(late)
  if (lost.length === 0) return
  await heal(exec, options)
  const [first] = await missing(lost)
  if (first === undefined) return
  throw new FleetError('unavailable', `the device of volume ${first.slice(LINKS.length + 1)} does not come`)
}

async function missing(devices: readonly string[]): Promise<readonly string[]> {
  const absent: string[] = []
  for (let first = 0; first < devices.length; first += MAX_PARALLEL_LOOKS) {
    const some = devices.slice(first, first + MAX_PARALLEL_LOOKS)
    const there = await Promise.all(some.map(isThere))
    absent.push(...some.filter((_, index) => there[index] === false))
  }
  return absent
}

/** Looks for a renamed volume's own device so long before and after udevd is asked once more. */
const OWN_MS = 10_000
const OWN_LOOK_MS = 50

/**
 * Waits until the link of a volume that was renamed leads to its own device: for a moment it may lead to that of the volume which had the
 * name before. @throws unavailable
 */
export async function settleOwn(name: string, signal: AbortSignal, exec: Run = run): Promise<void> {
  const options = { signal, timeoutMs: HEAL_TIMEOUT_MS }
  for (const isHealed of [false, true]) {
    if (isHealed) await exec(UDEVADM, ['trigger', '--action=change', '--settle', '--subsystem-match=block'], options)
    for (let waited = 0; waited < OWN_MS; waited += OWN_LOOK_MS) {
      if (await leadsTo(name, exec, options)) return
      if (signal.aborted) break
      await sleep(OWN_LOOK_MS)
    }
  }
  throw new FleetError('unavailable', 'the device of the volume does not come', { detail: name })
}

async function leadsTo(name: string, exec: Run, options: Parameters<Run>[2]): Promise<boolean> {
  const zvolId = ZVOL_ID_PATHS.find((path) => existsSync(path))
  if (!(await isThere(deviceOf(name)))) return false
  if (zvolId === undefined) return true // nothing here can tell
  const device = `/dev/${basename(await readlink(deviceOf(name)))}`
  const { exitCode, stdout } = await exec(zvolId, [device], options)
  return exitCode === 0 && stdout.trim() === name
}

/** Asks udevd once more about every volume's device that has no link, one at a time. */
async function heal(exec: Run, options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<void> {
  const zvolId = ZVOL_ID_PATHS.find((path) => existsSync(path))
  if (zvolId === undefined) return
  const linked = await linkedDevices()
  const devices = (await readdir('/sys/block')).filter((name) => /^zd\d+$/.test(name) && !linked.has(name))
  for (const name of devices) {
    const device = `/dev/${name}`
    const { exitCode, stdout } = await exec(zvolId, [device], options)
    if (exitCode !== 0 || (await isThere(deviceOf(stdout.trim())))) continue
    await exec(UDEVADM, ['trigger', '--action=change', '--settle', device], options)
  }
}

async function linkedDevices(): Promise<ReadonlySet<string>> {
  const entries = await readdir(LINKS, { recursive: true, withFileTypes: true }).catch(() => [])
  const links = entries.filter((entry) => entry.isSymbolicLink())
  const targets = await Promise.all(links.map((link) => readlink(join(link.parentPath, link.name)).catch(() => '')))
  return new Set(targets.map((target) => basename(target)))
}
