import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import test from 'ava'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { watch } from '../contracts/driver-contract.ts'
import { volumeContract } from '../contracts/volume-contract.ts'
import { testUnless } from '../harness/system-packages.ts'
import { readText as read, writeText as write } from './disk.ts'
import { lacksZfs, makeRoom, type Room, tool } from './room.ts'

const MIB = 2 ** 20
const reason = lacksZfs()
const inZfs = testUnless(reason)
let made: Room | undefined

function room(): Room {
  made ??= makeRoom()
  return made
}
test.after.always(() => made?.close())

/** A file system of its own in the pool; what is written there is counted at once. */
async function openContract() {
  const root = `${room().pool}/c${randomUUID().slice(0, 8)}`
  tool('zfs', 'create', root)
  const disk = {
    async write(device: string, text: string) {
      await write(device, text)
      tool('zpool', 'sync', room().pool)
    },
    read: async (device: string, bytes: number) => (await read(device)).slice(0, bytes),
  }
  return { volumes: await openZfsVolumes(root), disk }
}

// as: it declares its tests by calling it, which serial can do too
if (reason === undefined) volumeContract(test.serial as typeof test, { open: openContract })

inZfs('a volume is made once, sparse, and another of its name has another guid', async (t) => {
  const volumes = await openZfsVolumes(room().pool)
  const request = { volume: 'made', sizeBytes: 64 * MIB, createParent: false }
  const first = await volumes.create(request, watch)
  await volumes.settle([first], watch)
  t.like(first, { path: 'made', sizeBytes: 64 * MIB, device: `/dev/zvol/${room().pool}/made`, isWritten: false })
  t.deepEqual(await volumes.create(request, watch), first)
  await t.throwsAsync(volumes.create({ ...request, sizeBytes: 65 * MIB }, watch), { code: 'exists' } as object)
  t.is(tool('zfs', 'get', '-Hp', '-o', 'value', 'refreservation', `${room().pool}/made`).trim(), '0')
  await write(first.device, 'x')
  tool('zpool', 'sync', room().pool)
  t.true((await volumes.find('made'))?.isWritten)
  await volumes.destroy('made', watch)
  await volumes.destroy('made', watch)
  t.is(await volumes.find('made'), undefined)
  t.not((await volumes.create(request, watch)).guid, first.guid)
  await volumes.destroy('made', watch)
})

inZfs(
  'clones of a volume that others made: many at once, all with their devices, and what is written stays in them',
  async (t) => {
    const pool = `${room().pool}/adopted`
    tool('zfs', 'create', pool)
    tool('zfs', 'create', '-s', '-V', '64M', `${pool}/golden`)
    tool('udevadm', 'wait', '--timeout=20', `/dev/zvol/${pool}/golden`)
    await write(`/dev/zvol/${pool}/golden`, 'golden')
    tool('zfs', 'snapshot', `${pool}/golden@s`)
    const volumes = await openZfsVolumes(pool)
    const source = { volume: 'golden', snapshot: 's' }
    const requests = Array.from({ length: 12 }, (_, n) => ({ source, target: `nodes/a/d${n}`, createParent: true }))
    const results = await volumes.clone(requests, watch)
    const clones = results.map((one) => (one instanceof Error ? t.fail(String(one)) : one))
    const all = clones
      .map((one) => (typeof one === 'object' ? one.volume : undefined))
      .filter((one) => one !== undefined)
    t.is(all.length, 12)
    await volumes.settle(all, watch)
    const guid = tool('zfs', 'get', '-Hp', '-o', 'value', 'guid', `${pool}/golden@s`).trim()
    for (const volume of all) {
      t.is(await read(volume.device), 'golden')
      t.like(volume, { isWritten: false, origin: { guid, path: 'golden', snapshot: 's' } })
    }
    const [first] = all
    if (first === undefined) return
    await write(first.device, 'mine')
    t.is(await read(`/dev/zvol/${pool}/golden`), 'golden')
    const again = await volumes.clone(requests.slice(0, 2), watch)
    t.like(again[0], { reused: true, volume: { guid: first.guid, isWritten: true } })
    t.like(again[1], { reused: true, volume: { isWritten: false } })
    t.regex(tool('zfs', 'get', '-H', '-o', 'value', 'volmode', `${pool}/nodes/a/d0`), /^dev/)
    t.is(tool('zfs', 'get', '-H', '-o', 'value', 'mounted', `${pool}/nodes/a`).trim(), 'no')

    const listed = await volumes.list('', 3)
    t.deepEqual(
      listed.map(({ path }) => path),
      ['golden', 'nodes/a/d0', 'nodes/a/d1'],
    )
    t.deepEqual(
      listed[0]?.snapshots.map(({ name }) => name),
      ['s'],
    )
    t.deepEqual(
      (await volumes.list('nodes/a/d1', 2)).map(({ path }) => path),
      ['nodes/a/d10', 'nodes/a/d11'],
    )

    const failure = await t.throwsAsync(volumes.destroySnapshot('golden', 's', watch), { code: 'conflict' } as object)
    t.is((failure as unknown as { blockers: readonly string[] }).blockers.length, 12)
    const blocked = await t.throwsAsync(volumes.destroy('golden', watch), { code: 'conflict' } as object)
    t.true((blocked as unknown as { blockers: readonly string[] }).blockers.includes('golden@s'))
    await Promise.all(all.map(({ path }) => volumes.destroy(path, watch)))
    t.deepEqual(
      (await volumes.list('', 10)).map(({ path }) => path),
      ['golden'],
    )
    await volumes.destroySnapshot('golden', 's', watch)
    await volumes.destroySnapshot('golden', 's', watch)
    await volumes.destroy('golden', watch)
  },
)

inZfs('each of a list fails alone', async (t) => {
  const { pool } = room()
  const volumes = await openZfsVolumes(pool)
  await volumes.create({ volume: 'base', sizeBytes: MIB, createParent: false }, watch)
  const first = await volumes.snapshot({ volume: 'base', snapshot: 's' }, watch)
  t.deepEqual(await volumes.snapshot({ volume: 'base', snapshot: 's' }, watch), first)
  await volumes.snapshot({ volume: 'base', snapshot: 'other' }, watch)
  await t.throwsAsync(volumes.snapshot({ volume: 'absent', snapshot: 's' }, watch), { code: 'not_found' } as object)
  tool('zfs', 'create', '-o', 'canmount=off', `${pool}/files`)
  const source = { volume: 'base', snapshot: 's' }
  const results = await volumes.clone(
    [
      { source, target: 'ok', createParent: false },
      { source: { volume: 'base', snapshot: 'none' }, target: 'a', createParent: false },
      { source, target: 'files', createParent: false },
      { source, target: 'no/parent', createParent: false },
      { source: { volume: 'base', snapshot: 'other' }, target: 'ok', createParent: false },
      { source, target: 'base/below', createParent: true },
      { source, target: '../out', createParent: true },
      { source, target: 'datasets/x', createParent: true },
      { source, target: 'ok', createParent: false },
    ],
    watch,
  )
  const codes = results.map((one) => (one instanceof Error ? (one as unknown as { code: string }).code : one.reused))
  t.deepEqual(codes, [false, 'not_found', 'exists', 'not_found', 'exists', 'exists', 'invalid', 'invalid', true])
  await t.throwsAsync(volumes.destroy('files', watch), { code: 'conflict' } as object)
  t.is(await volumes.find('files'), undefined)
  t.true(readFileSync('/proc/mounts', 'utf8').includes(pool))
})

inZfs('a volume grows and does not shrink; one that is open is busy, and stays', async (t) => {
  const volumes = await openZfsVolumes(room().pool)
  const made = await volumes.create({ volume: 'grows', sizeBytes: MIB, createParent: false }, watch)
  await volumes.settle([made], watch)
  t.is((await volumes.resize({ volume: 'grows', sizeBytes: 3 * MIB }, watch)).sizeBytes, 3 * MIB)
  await t.throwsAsync(volumes.resize({ volume: 'grows', sizeBytes: MIB }, watch), { code: 'conflict' } as object)
  await t.throwsAsync(volumes.resize({ volume: 'none', sizeBytes: MIB }, watch), { code: 'not_found' } as object)
  const file = await open(made.device, 'r')
  await t.throwsAsync(volumes.destroy('grows', watch), { code: 'busy' } as object)
  await file.close()
  await volumes.destroy('grows', watch)
})
