import test from 'ava'
import { mountsOf, parseConfig, rootfsOf } from './lxc-config.ts'
import { parseStanding, parseStandings } from './lxc-tools.ts'
import { type RenameRequest, renameConfig } from './renamed-config.ts'

const CONFIG = `# Template used to create this container
lxc.include = /usr/share/lxc/config/common.conf
lxc.arch = linux64
lxc.uts.name = shop
lxc.rootfs.path = dir:/var/lib/lxc/shop/rootfs
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.hwaddr = 00:16:3e:aa:bb:cc
lxc.net.0.veth.pair = vshop
lxc.net.0.ipv4.address = 10.1.2.3/24
lxc.net.0.script.up = /root/up
lxc.hook.start-host = /root/hook
lxc.log.file = /var/log/lxc/shop.log
lxc.include = /root/own.conf
lxc.apparmor.profile = unconfined
lxc.cap.drop =
lxc.cgroup2.devices.allow = a
lxc.cgroup2.memory.max = 1G
lxc.sysctl.kernel.core_pattern = |/root/x
lxc.mount.entry = /srv/photos photos none bind,create=dir,ro 0 0
lxc.mount.entry = tmpfs tmp tmpfs size=1m 0 0
lxc.mount.entry = /dev/sda1 disk ext4 defaults 0 0
lxc.mount.entry = /proc/sys p none bind 0 0
`

function rename(part: Partial<RenameRequest>) {
  return renameConfig({
    name: 'copy',
    config: CONFIG,
    fstab: '',
    rootfs: '/pool/root of copy',
    identity: 'new',
    trusted: false,
    mounts: [],
    files: new Set(),
    newMac: () => '00:16:3e:00:00:01',
    ...part,
  })
}

test('a configuration that others may have written keeps what acts inside alone', (t) => {
  const { config, dropped } = rename({})
  t.is(
    config,
    `# Template used to create this container
lxc.include = /usr/share/lxc/config/common.conf
lxc.arch = linux64
lxc.uts.name = copy
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.hwaddr = 00:16:3e:00:00:01
lxc.cgroup2.memory.max = 1G

lxc.mount.entry = tmpfs tmp tmpfs size=1m 0 0
lxc.rootfs.path = dir:/pool/root of copy
`,
  )
  t.deepEqual(dropped.toSorted(), [
    ...[
      '/disk',
      '/p',
      '/photos',
      'lxc.apparmor.profile',
      'lxc.cap.drop',
      'lxc.cgroup2.devices.allow',
      'lxc.hook.start-host',
    ],
    ...['lxc.include', 'lxc.log.file', 'lxc.net.0.ipv4.address', 'lxc.net.0.script.up', 'lxc.net.0.veth.pair'],
    'lxc.sysctl.kernel.core_pattern',
  ])
})

test('what is restored in its own place, from a host that is trusted, is as it was but for its root and its mounts', (t) => {
  const mounts = [{ destination: '/photos', source: { path: '/srv/new photos' }, readonly: true }]
  const { config, dropped } = rename({ identity: 'keep', trusted: true, mounts })
  const [, ...expected] = CONFIG.split('\n').filter((line) => !/^lxc.(rootfs|mount)/.test(line))
  for (const line of expected) t.true(config.includes(line), line)
  t.true(config.includes('lxc.mount.entry = /srv/new\\040photos photos none rbind,create=dir,ro 0 0\n'))
  t.true(config.includes('lxc.mount.entry = /proc/sys p none bind 0 0\n'))
  t.deepEqual(dropped, [])
})

test('lines that LXC may read otherwise than we do are not believed', (t) => {
  const config = 'lxc.hook.mount:x = /root/hook\n lxc.uts.name=a\nlxc.hook.stop\t=\t/x\nLXC.x = 1\n'
  const renamed = rename({ config })
  t.is(renamed.config, 'lxc.uts.name = copy\n\nlxc.rootfs.path = dir:/pool/root of copy\n')
})

test('entries of an fstab become entries of the configuration', (t) => {
  const fstab = '# bound\n/srv/a b none bind 0 0\nproc proc proc nodev 0 0\n'
  const files = new Set(['/srv/file'])
  const mounts = [{ destination: '/b', source: { path: '/srv/file' }, readonly: false }]
  const { config, dropped } = rename({ config: 'lxc.mount.fstab = /x\n', fstab, mounts, files })
  t.is(
    config,
    `lxc.mount.entry = proc proc proc nodev 0 0
lxc.mount.entry = /srv/file b none rbind,create=file 0 0
lxc.rootfs.path = dir:/pool/root of copy
`,
  )
  t.deepEqual(dropped, [])
  const sneaky = [{ destination: '/b', source: { path: '/srv/x\nlxc.hook.stop = /x' }, readonly: false }]
  t.throws(() => rename({ mounts: sneaky }), { code: 'invalid' })
  t.throws(
    () => rename({ mounts: [{ ...sneaky[0], destination: '/../etc', source: { path: '/x' }, readonly: true }] }),
    {
      code: 'invalid',
    },
  )
})

test('a root is found where LXC would find it', (t) => {
  const root = (path: string) =>
    rootfsOf(parseConfig(`lxc.rootfs.path = /old\nlxc.rootfs.path = ${path}`), '/var/lib/lxc/c')
  t.is(root('dir:/a b'), '/a b')
  t.is(root('/plain'), '/plain')
  t.is(root('btrfs:/sub'), '/sub')
  t.is(root('zfs:pool/c'), '/var/lib/lxc/c/rootfs')
  t.is(root('overlay:/low:/up'), undefined)
  t.is(rootfsOf([], '/x'), undefined)
})

test('mounts are those of host directories, wherever they are written', (t) => {
  const lines = parseConfig(CONFIG)
  const fstab = '/srv/deep\\040path /var/lib/lxc/shop/rootfs/mnt/x/ none rbind 0 0\n'
  const bind = { kind: 'bind', volume: undefined } as const
  t.deepEqual(mountsOf(lines, fstab, rootfsOf(lines, '/c')), [
    { ...bind, source: '/srv/deep path', destination: '/mnt/x', readonly: false },
    { ...bind, source: '/srv/photos', destination: '/photos', readonly: true },
  ])
})

/** As lxc-ls and lxc-info of LXC 5.0.2 print them. */
test('what the tools print is read, and what is not understood is another state', (t) => {
  const table = 'NAME STATE   PID  \nc1   FROZEN  4086 \nc2   STOPPED -    \nc3   ABORTING -\n-x RUNNING 7\n'
  t.deepEqual(
    [...parseStandings(table)],
    [
      ['c1', { state: 'FROZEN', changing: false, pid: 4086 }],
      ['c2', { state: 'STOPPED', changing: false, pid: undefined }],
      ['c3', { state: 'OTHER', changing: false, pid: undefined }],
    ],
  )
  t.deepEqual(parseStanding('State:          RUNNING\nPID:            3265\n'), {
    state: 'RUNNING',
    changing: false,
    pid: 3265,
  })
  t.deepEqual(parseStanding('State:          STOPPED\n'), { state: 'STOPPED', changing: false, pid: undefined })
  t.deepEqual(parseStanding('State:          FREEZING\nPID:            3265\n'), {
    state: 'OTHER',
    changing: true,
    pid: 3265,
  })
  t.deepEqual(parseStanding(''), { state: 'OTHER', changing: false, pid: undefined })
})
