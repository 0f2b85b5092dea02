import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  makeNastyTree,
  openChain,
  runRestoreScript,
  writePoint,
} from '../../test/harness/archive.ts'
import { sharedMounts, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { verify } from './verify.ts'

const mount = sharedMounts(test)

for (const fileSystem of ['ext4', 'btrfs', 'xfs'] as const) {
  test.serial(`a nasty tree on ${fileSystem} comes back as it was`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const home = mount(fileSystem)
    const tree = join(home, 'tree')
    makeNastyTree(tree)
    const written = await writePoint({ tree, points: home, name: 'point' })
    t.deepEqual(written.problems, [])
    await extractTo(join(home, 'back'), { points: home, names: ['point'] })
    t.deepEqual(differences(describeTree(join(home, 'back')), describeTree(tree)), [])
    // Of 5 GiB and some, what is allocated is no more than it was.
    t.true(statSync(join(home, 'back', 'sparse')).blocks <= statSync(join(tree, 'sparse')).blocks + 64)
    t.deepEqual(
      readdirSync(home).filter((name) => name.includes('spool') || name.includes('partial')),
      [],
    )
  })
}

test.serial(
  'GNU tar and bsdtar read what is written, and the script needs tar, zstd and sha256sum alone',
  async (t) => {
    if (!canArchive(t)) return t.pass()
    const home = temporaryDirectory(t)
    const tree = join(home, 'tree')
    makeNastyTree(tree)
    await writePoint({ tree, points: home, name: 'point' })
    await writePoint({ tree, points: home, name: 'raw' }, { compression: 'none' })
    const expected = describeTree(tree)
    runRestoreScript(join(home, 'point'), join(home, 'by-script'), join(home, 'bin'))
    t.deepEqual(differences(describeTree(join(home, 'by-script')), expected), [])
    runRestoreScript(join(home, 'raw'), join(home, 'by-raw-script'), join(home, 'bin2'))
    t.deepEqual(differences(describeTree(join(home, 'by-raw-script')), expected), [])
    execFileSync(
      '/bin/sh',
      ['-c', 'mkdir bsd && zstd -dcq point/data.tar.zst | bsdtar -xpf - --numeric-owner --acls --xattrs -C bsd'],
      { cwd: home, stdio: 'pipe' },
    )
    // bsdtar 3.6 leaves the time of the directory that it extracts into.
    const wrong = differences(describeTree(join(home, 'bsd')), expected)
    t.deepEqual(
      wrong.filter((line) => !line.endsWith('  .')),
      [],
    )
    await extractTo(join(home, 'ours'), { points: home, names: ['raw'] })
    t.deepEqual(differences(describeTree(join(home, 'ours')), expected), [])
  },
)

test.serial('one file or a subtree reads its own frames alone', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  if (!canArchive(t)) return t.pass()
  makeNastyTree(tree)
  await writePoint({ tree, points: home, name: 'point' })
  await extractTo(join(home, 'one'), { points: home, names: ['point'], path: 'd/hard2' })
  t.deepEqual(readdirSync(join(home, 'one')), ['hard2'])
  await extractTo(join(home, 'link'), { points: home, names: ['point'], path: 'plain' })
  t.is(execFileSync('/bin/cat', [join(home, 'link', 'plain')]).toString(), 'hello')
  await extractTo(join(home, 'd'), { points: home, names: ['point'], path: 'd' })
  const names = (text: string) => text.split('\n').filter((line) => !/hard2|plain/.test(line))
  const own = names(describeTree(join(home, 'd'))).filter((line) => line.startsWith('f '))
  t.deepEqual(
    own,
    names(describeTree(join(tree, 'd'))).filter((line) => line.startsWith('f ')),
  )
  await t.throwsAsync(extractTo(join(home, 'none'), { points: home, names: ['point'], path: 'nothing' }), {
    code: 'not_found',
  })
})

test.serial('an index of many frames is found again by any path, and verified', async (t) => {
  const home = temporaryDirectory(t)
  execFileSync('/usr/bin/python3', [
    '-c',
    `
import os,sys
for d in range(20):
    os.makedirs(f'{sys.argv[1]}/d{d}')
    for i in range(400): open(f'{sys.argv[1]}/d{d}/f{i}','w').write(str(i)*(i%50))
`,
    join(home, 'tree'),
  ])
  await writePoint({ tree: join(home, 'tree'), points: home, name: 'point' })
  const chain = await openChain(home, ['point'])
  const [point] = chain.points
  if (point === undefined) return t.fail()
  t.true(point.table.index.length > 3)
  for (const path of ['', 'd0', 'd19/f399', 'd7/f77']) t.is((await chain.find(path, calm.signal))?.member.path, path)
  t.is(await chain.find('d7/f', calm.signal), undefined)
  const { files, damagedCount } = await verify({ subject: 'verify', point, scratch: home }, calm)
  t.deepEqual({ files, damagedCount }, { files: 8_021, damagedCount: 0 })
  await closeChain(chain)
})
