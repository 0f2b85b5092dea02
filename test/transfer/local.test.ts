import { mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openTarget } from '../../agent/transfer/open-target.ts'
import { TargetConfig } from '../../shared/target-config.ts'
import { canMount, mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { targetContract } from './target-contract.ts'
import { context, load, namesIn, noise, store, watch } from './target-setup.ts'

const openIn = (backupRoot: string) =>
  openTarget(TargetConfig.parse({ protocol: 'local', name: 'disk', base: '/group' }), {}, { ...context, backupRoot })
const open = (t: ExecutionContext) => openIn(temporaryDirectory(t))

targetContract({ open, verified: 'size', lacks: undefined })

test('links do not lead out of the backup root', async (t) => {
  const root = temporaryDirectory(t)
  mkdirSync(join(root, 'group'))
  symlinkSync('/etc', join(root, 'group', 'out'))
  const target = await openIn(root)
  await t.throwsAsync(target.get('out/passwd', watch), { code: 'refused' })
  await t.throwsAsync(target.put('out/a', watch), { code: 'refused' })
  await t.throwsAsync(target.list('out', watch), { code: 'refused' })
  await t.throwsAsync(target.removeTree('out/ssl', watch), { code: 'refused' })
  t.like(await target.stat('out', watch), { kind: 'other' })
})

test('what a dead upload left is swept once it is old', async (t) => {
  const root = temporaryDirectory(t)
  const target = await openIn(root)
  for (const name of ['.0123456789abcdef.partial', '.fedcba9876543210.partial', 'point.partial'])
    writeFileSync(join(root, 'group', name), 'half')
  utimesSync(join(root, 'group', '.0123456789abcdef.partial'), 1, 1)
  t.deepEqual(await namesIn(target), ['point.partial'])
  t.is(await target.sweep('', { ...watch, olderThanMs: 3_600_000 }), 1)
  t.deepEqual(readdirSync(join(root, 'group')).toSorted(), ['.fedcba9876543210.partial', 'point.partial'])
})

test('a full disk is told, before the work where the size is known, and leaves nothing', async (t) => {
  if (!canMount(t)) return t.pass()
  const root = mountLoop(t, 'ext4', 64 * 2 ** 20)
  const target = await openIn(root)
  await t.throwsAsync(target.put('large', { ...watch, sizeBytes: 2 ** 30 }), { code: 'no_space', message: /disk/ })
  await t.throwsAsync(store(target, 'a', noise(80_000_000)), { code: 'no_space' })
  t.deepEqual(readdirSync(join(root, 'group')), [])
  const small = noise(1_000_000)
  await store(target, 'a', small)
  t.true((await load(target, 'a')).equals(small))
  const { freeBytes = 0 } = (await target.free(watch)) ?? {}
  t.true(freeBytes > 10_000_000 && freeBytes < 64 * 2 ** 20)
})

test('reserved space that was not used is given back', async (t) => {
  const root = temporaryDirectory(t)
  const target = await openIn(root)
  const before = (await target.free(watch))?.freeBytes ?? 0
  const sink = await target.put('a', { ...watch, sizeBytes: 2 ** 30 })
  const during = (await target.free(watch))?.freeBytes ?? 0
  t.true(before - during > 2 ** 29, 'space is reserved')
  await sink.write(Buffer.from('a'))
  await sink.finish()
  t.true(before - ((await target.free(watch))?.freeBytes ?? 0) < 2 ** 29, 'and given back')
})
