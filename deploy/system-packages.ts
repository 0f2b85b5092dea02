import { existsSync } from 'node:fs'
import { findPostgresFolders, findTool } from './tools.ts'

/** What somebody wants to do on this machine. */
export type Purpose = 'start' | 'test' | 'check'

export interface SystemPackage {
  /** Debian's name; other systems' names are mostly the same. */
  readonly name: string
  /** Programs that show it is there. */
  readonly programs: readonly string[]
  readonly purposes: readonly Purpose[]
  /** Useful to root alone: mounts and file systems. */
  readonly rootOnly: boolean
  /** What goes without when it is missing; undefined when nothing works without. */
  readonly without?: string
}

/** Every system package that Holdfast uses, in this one place. */
export const SYSTEM_PACKAGES: readonly SystemPackage[] = [
  { name: 'postgresql', programs: [], purposes: ['start', 'test', 'check'], rootOnly: false },
  { name: 'nats-server', programs: ['nats-server'], purposes: ['start', 'test'], rootOnly: false },
  { name: 'zstd', programs: ['zstd'], purposes: ['start', 'test'], rootOnly: false },
  {
    name: 'openssl',
    programs: ['openssl'],
    purposes: ['start', 'test'],
    rootOnly: false,
    without: 'certificates for HOLDFAST_TLS_PORT',
  },
  {
    name: 'util-linux',
    programs: ['setpriv'],
    purposes: ['start', 'test'],
    rootOnly: false,
    without: 'children that end with their parent',
  },
  {
    name: 'mount',
    programs: ['mount', 'umount', 'losetup'],
    purposes: ['start', 'test'],
    rootOnly: true,
    without: 'btrfs pools on loop images',
  },
  {
    name: 'btrfs-progs',
    programs: ['mkfs.btrfs', 'btrfs'],
    purposes: ['start', 'test'],
    rootOnly: true,
    without: 'btrfs pools',
  },
  { name: 'xfsprogs', programs: ['mkfs.xfs'], purposes: ['test'], rootOnly: true, without: 'reflink pools on XFS' },
  {
    name: 'openssh-server',
    programs: ['sshd'],
    purposes: ['test'],
    rootOnly: true,
    without: 'SFTP targets in tests',
  },
  {
    name: 'apache2-bin',
    programs: ['apache2'],
    purposes: ['test'],
    rootOnly: true,
    without: 'WebDAV targets in tests',
  },
  ...['proxy', 'account', 'container', 'object'].map(
    (part): SystemPackage => ({
      name: `swift-${part}`,
      programs: [`swift-${part}-server`],
      purposes: ['test'],
      rootOnly: true,
      without: 'S3 targets in tests',
    }),
  ),
  {
    name: 'memcached',
    programs: ['memcached'],
    purposes: ['test'],
    rootOnly: true,
    without: 'S3 targets in tests',
  },
  {
    name: 'libarchive-tools',
    programs: ['bsdtar'],
    purposes: ['test'],
    rootOnly: true,
    without: 'archives read and written by bsdtar',
  },
  {
    name: 'python3',
    programs: ['python3'],
    purposes: ['test'],
    rootOnly: true,
    without: 'the trees that archives are tried with',
  },
  {
    name: 'python3-cinderclient',
    programs: ['cinder'],
    purposes: ['test'],
    rootOnly: false,
    without: "the block API beside OpenStack's own client",
  },
  { name: 'acl', programs: ['setfacl', 'getfacl'], purposes: ['test'], rootOnly: true, without: 'archives with ACLs' },
  {
    name: 'attr',
    programs: ['getfattr', 'setfattr'],
    purposes: ['test'],
    rootOnly: true,
    without: 'archives with extended attributes',
  },
  {
    name: 'age',
    programs: ['age', 'age-keygen'],
    purposes: ['test'],
    rootOnly: false,
    without: 'encrypted archives beside the age tool',
  },
  ...[
    { name: 'lxc', programs: ['lxc-start', 'lxc-freeze'], without: 'LXC containers' },
    { name: 'podman', programs: ['podman'], without: 'containers of an engine' },
    { name: 'runc', programs: ['runc'], without: 'containers of an engine' },
    { name: 'busybox-static', programs: ['busybox'], without: 'containers' },
  ].map((entry): SystemPackage => ({ ...entry, purposes: ['test'], rootOnly: true })),
  ...[
    { name: 'libvirt-daemon', programs: ['libvirtd'] },
    { name: 'libvirt-daemon-driver-qemu', programs: [] },
    { name: 'libvirt-clients', programs: ['virsh'] },
    { name: 'qemu-system-x86', programs: ['qemu-system-x86_64'] },
  ].map((entry): SystemPackage => ({ ...entry, purposes: ['test'], rootOnly: true, without: 'domains of libvirt' })),
  { name: 'tgt', programs: ['tgtd'], purposes: ['start', 'test'], rootOnly: true, without: 'iSCSI exports' },
  {
    name: 'libiscsi7',
    programs: [],
    purposes: ['start', 'test'],
    rootOnly: false,
    without: 'backups of volumes of a Cinder behind this service',
  },
  ...[
    { name: 'libiscsi-bin', programs: ['iscsi-inq', 'iscsi-ls', 'iscsi-readcapacity16', 'iscsi-test-cu'] },
    { name: 'qemu-utils', programs: ['qemu-io'] },
    { name: 'qemu-block-extra', programs: [] },
  ].map((entry): SystemPackage => ({ ...entry, purposes: ['test'], rootOnly: true, without: 'initiators in tests' })),
  {
    name: 'curl',
    programs: ['curl'],
    purposes: ['test'],
    rootOnly: false,
    without: "the documents' own lines, as they stand",
  },
  {
    name: 'kmod',
    programs: ['modprobe'],
    purposes: ['test'],
    rootOnly: true,
    without: 'file systems built as modules',
  },
  { name: 'chromium', programs: ['chromium'], purposes: ['test'], rootOnly: false, without: 'pages in a browser' },
]

function isPresent({ name, programs }: SystemPackage): boolean {
  if (name === 'postgresql') return findPostgresFolders().length > 0
  if (name === 'qemu-block-extra') return hasLibrary('qemu/block-iscsi.so')
  if (name === 'libvirt-daemon-driver-qemu') return hasLibrary('libvirt/connection-driver/libvirt_driver_qemu.so')
  if (name === 'libiscsi7') return hasLibrary('libiscsi.so.7')
  return programs.every((program) => findTool(program) !== undefined)
}

/** What is loaded from the libraries' folder of the machine's architecture. */
function hasLibrary(name: string): boolean {
  return ['x86_64', 'aarch64'].some((machine) => existsSync(`/usr/lib/${machine}-linux-gnu/${name}`))
}

/** The packages that `purpose` wants and this machine lacks. @param except names that are not needed this time. */
export function missingPackages(purpose: Purpose, except: readonly string[] = []): readonly SystemPackage[] {
  const root = process.getuid?.() === 0
  return SYSTEM_PACKAGES.filter(
    (entry) =>
      entry.purposes.includes(purpose) &&
      !except.includes(entry.name) &&
      (root || !entry.rootOnly) &&
      !isPresent(entry),
  )
}
