/**
 * The host of `rollback-cut.sh`: a zvol that is rolled back between two snapshots, on what an agent uses.
 *
 *     roller.ts make POOL            volume `disk` with snapshots `a` and `b`, each of its own content
 *     roller.ts roll POOL [stop]     rolls it back to the one and the other, for ever; `stop`: once, up to between the two renames. Tells when.
 *     roller.ts check POOL           what an agent does when it starts; then the volume has one of the two contents, and both snapshots have theirs
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createZfsVolumes, zvolDevices } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { settleDevices } from '../../agent/zfs/devices.ts'
import { openZfs, type Zfs } from '../../agent/zfs/zfs.ts'
import { watch } from '../contracts/driver-contract.ts'
import { readText, writeText } from './disk.ts'

const FOREVER_MS = 86_400_000
const SNAPSHOTS = ['a', 'b'] as const
const contentOf = (snapshot: string) => `content-of-${snapshot}`
const say = (told: object) => process.stdout.write(`${JSON.stringify(told)}\n`)

const [action, root = '', how] = process.argv.slice(2)
const device = `/dev/zvol/${root}/disk`
const zfs = openZfs()
const volumes = await createZfsVolumes({ root, zfs: stopping(zfs), devices: zvolDevices() })

/** Before the second of the two renames it says so, and goes no further. */
function stopping(zfs: Zfs): Zfs {
  if (how !== 'stop') return zfs
  return {
    ...zfs,
    async call(args, signal) {
      if (args[0] === 'rename' && args[2] === `${root}/disk`) {
        say({ between: 'the renames' })
        await sleep(FOREVER_MS)
      }
      return zfs.call(args, signal)
    },
  }
}

async function make(): Promise<void> {
  const disk = await volumes.create({ volume: 'disk', sizeBytes: 2 ** 24, createParent: false }, watch)
  await volumes.settle([disk], watch)
  for (const snapshot of SNAPSHOTS) {
    await writeText(device, contentOf(snapshot))
    await volumes.snapshot({ volume: 'disk', snapshot }, watch)
  }
}

async function roll(): Promise<void> {
  for (let round = 0; ; round += 1) {
    const snapshot = SNAPSHOTS[round % 2] ?? 'a'
    await using staged = await volumes.stage({ volume: 'disk', content: { snapshot }, createParent: false }, watch)
    await staged.put('over', watch)
    say({ rolledBackTo: snapshot })
  }
}

async function check(): Promise<void> {
  const wasThere = (await volumes.find('disk')) !== undefined
  await volumes.sweep()
  await settleDevices([device], watch.signal)
  await zvolDevices().settleOwn(`${root}/disk`, watch.signal)
  const content = await readText(device)
  if (!SNAPSHOTS.some((one) => contentOf(one) === content)) throw new Error(`the volume has '${content}'`)
  const [listed, ...others] = await volumes.list('', 10)
  const names = listed?.snapshots.map(({ name }) => name).toSorted()
  if (names?.join() !== SNAPSHOTS.join() || others.length > 0)
    throw new Error(`snapshots ${names}, ${others.length} others`)
  for (const snapshot of SNAPSHOTS) {
    const request = { source: { volume: 'disk', snapshot }, target: 'look', createParent: false }
    const [clone] = await volumes.clone([request], watch)
    if (clone === undefined || clone instanceof Error) throw clone
    await volumes.settle([clone.volume], watch)
    const told = await readText(clone.volume.device)
    if (told !== contentOf(snapshot)) throw new Error(`snapshot ${snapshot} has '${told}'`)
    await volumes.destroy('look', watch)
  }
  const rows = await zfs.list({ columns: ['name'], types: ['volume'], names: [root] }, watch.signal)
  const left = rows.filter(({ name }) => name.includes('/.staged')).length
  if (left > 0) throw new Error(`${left} staged volumes are left`)
  say({ wasThere, content, volumes: rows.length })
}

if (action === 'make') await make()
else if (action === 'roll') await roll()
else if (action === 'check') await check()
else throw new Error('make, roll or check?')
