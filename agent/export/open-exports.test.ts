import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { createLogger } from '../../shared/logger.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { openExportLog, wwnsIn } from './export-log.ts'
import { storesPath, targetPaths } from './lio/layout.ts'
import { openLioTargets } from './lio/lio-targets.ts'
import { chosenTechnology, openExports } from './open-exports.ts'

const NAME = 'iqn.2026-01.test.open'
const logger = createLogger('test', 'silent')
const { signal } = new AbortController()

function keep(state: string, ...wwns: readonly string[]): void {
  const log = openExportLog(join(state, 'exports.log'))
  log.keep(
    wwns.map((wwn, n) => ({
      exportId: '01900000-0000-7000-8000-000000000001',
      wwn,
      place: { pool: 'a', volume: `v${n}` },
      access: { initiators: [`${NAME}:i`], chapUser: null },
      ...{ device: `/a/${n}`, guid: String(n), chap: undefined },
    })),
  )
  log.close()
}

/** Files as configfs shows a target that was cut off between its own folder and the portal group. */
function makeHalf(root: string, wwn: string): { readonly target: string; readonly store: string } {
  const paths = targetPaths(root, wwn)
  const store = join(storesPath(root, 'fileio'), paths.storeName)
  for (const folder of [paths.target, store]) mkdirSync(folder, { recursive: true })
  return { target: paths.target, store }
}

function openNone(state: string, lioRoot: string) {
  const settings = { technology: 'none' as const, portals: [], outlives: false, state, lioRoot }
  return openExports(settings, { findVolume: async () => undefined, logger })
}

test('a host that keeps exports is one of tgt also while that is away, unless another technology was asked for', (t) => {
  const choose = (asked: 'tgt' | 'lio' | 'none' | undefined, hasTgt: boolean, keepsExports: boolean) =>
    chosenTechnology(asked, { hasTgt, keepsExports })
  t.is(choose(undefined, true, false), 'tgt')
  t.is(choose(undefined, false, false), 'none')
  t.is(choose(undefined, false, true), 'tgt')
  t.is(choose('none', true, true), 'none')
  t.is(choose('lio', true, true), 'lio')
  t.throws(() => choose('tgt', false, true), { message: /tgt needs/ })
})

test('what an agent of another technology left in the kernel is taken down, and nothing that is not its own', async (t) => {
  const state = temporaryDirectory(t)
  const lioRoot = join(state, 'configfs')
  keep(state, `${NAME}:one`, `${NAME}:gone`)
  const [own, other] = [makeHalf(lioRoot, `${NAME}:one`), makeHalf(lioRoot, `${NAME}:other`)]
  const none = await openNone(state, lioRoot)
  t.false(existsSync(own.target) || existsSync(own.store))
  t.true(existsSync(other.target) && existsSync(other.store))
  await none[Symbol.asyncDispose]()
})

test('where nothing is to be exported, what is deleted does not come back with another technology', async (t) => {
  const state = temporaryDirectory(t)
  keep(state, `${NAME}:one`, `${NAME}:two`)
  const none = await openNone(state, join(state, 'none'))
  t.deepEqual(none.kept(), [])
  t.deepEqual(await none.remove([{ wwn: `${NAME}:one`, force: false }], signal), [undefined])
  await none[Symbol.asyncDispose]()
  t.deepEqual(wwnsIn(join(state, 'exports.log')), [`${NAME}:two`])
})

test('what was cut off in the kernel is listed, as targets without a volume', async (t) => {
  const root = temporaryDirectory(t)
  makeHalf(root, `${NAME}:half`)
  const orphan = targetPaths(root, `${NAME}:orphan`)
  const store = join(storesPath(root, 'iblock'), orphan.storeName)
  mkdirSync(store, { recursive: true })
  writeFileSync(join(store, 'alias'), `${NAME}:orphan\n`)
  mkdirSync(join(root, 'iscsi', `${NAME}:foreign`))
  const targets = await openLioTargets({ portals: [], root })
  const standing = await targets.list(signal)
  t.deepEqual(
    standing.map(({ wwn, device }) => [wwn, device]),
    [
      [`${NAME}:half`, ''],
      [`${NAME}:orphan`, ''],
    ],
  )
  t.deepEqual(
    (await targets.list(signal, [`${NAME}:orphan`, `${NAME}:foreign`])).map(({ wwn }) => wwn),
    [`${NAME}:orphan`],
  )
  await targets.close()
})
