import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import { listAudit } from './audit.ts'
import { AuditView } from './audit-schemas.ts'
import { createEnrolment, enrolHost, revokeHost, rotateHost } from './enrolments.ts'
import { pollEvents, socketEvents, streamEvents } from './events.ts'
import { createExportBatch, getExportBatch } from './export-batches.ts'
import { ExportBatchView, ExportView } from './export-schemas.ts'
import { createExport, deleteExport, getExport, listExports } from './exports.ts'
import { drainHost, getHost, getPool, listHosts, listPools, removeHost, undrainHost } from './hosts.ts'
import { InstanceView } from './instance-schemas.ts'
import { assignInstance, cloneInstance, getInstance, listInstances, startInstance, stopInstance } from './instances.ts'
import { cancelJob, getJob, listJobs, retryJob } from './jobs.ts'
import { getMigration, listMigrations, MigrationView, migrateInstance, stopMigration } from './migrations.ts'
import { type OperationsDeps, operationsRoutes } from './operations.ts'
import { PointView } from './point-schemas.ts'
import { diffPoints, listFiles, rehearsePoint, restorePoint, verifyPoint } from './point-work.ts'
import { createPoint, deletePoint, getPoint, listPoints, pinPoint, unpinPoint } from './points.ts'
import { ScheduleView } from './schedule-schemas.ts'
import { getSchedule, listRuns, listSchedules, previewRetention, untrashPoint } from './schedules.ts'
import { EventView, FleetErrorBody, HostView, JobView, PoolView } from './schemas.ts'
import { backUpStation, listStationBackups } from './station.ts'
import { TargetView } from './target-schemas.ts'
import {
  changeTarget,
  createTarget,
  deleteTarget,
  getTarget,
  listTargetFiles,
  listTargets,
  pingTarget,
} from './targets.ts'
import { VolumeSnapshotView, VolumeView } from './volume-schemas.ts'
import {
  cloneVolume,
  deleteVolumeSnapshot,
  listVolumeSnapshots,
  rollbackVolume,
  snapshotVolume,
} from './volume-snapshots.ts'
import { createVolume, deleteVolume, getVolume, listPoolVolumes, listVolumes, resizeVolume } from './volumes.ts'

/** To clients a path that is not there is as absent as a thing that is not there. */
function errorBody({ code, message, field, blockers }: Failure) {
  return { error: { code: code === 'no_route' ? 'not_found' : code, message, field, blockers } }
}

/** The fleet's own dialect. It answers for `/` and for every path that no other dialect owns. */
export function createFleetDialect(deps: OperationsDeps): Dialect {
  return {
    name: 'fleet',
    title: 'Holdfast fleet API',
    version: '1',
    description:
      'Hosts, pools, volumes (block devices), exports (iSCSI targets), instances (containers), points (archives), targets (where they go), schedules and their runs, jobs, the event feed and the audit.',
    owns: [
      '/api/v1/hosts',
      '/api/v1/pools',
      '/api/v1/volumes',
      '/api/v1/exports',
      '/api/v1/export-batches',
      '/api/v1/instances',
      '/api/v1/migrations',
      '/api/v1/points',
      '/api/v1/targets',
      '/api/v1/schedules',
      '/api/v1/station',
      '/api/v1/jobs',
      '/api/v1/events',
      '/api/v1/audit',
      '/healthz',
      '/readyz',
      '/metrics',
      '',
    ],
    statuses: COMMON_STATUSES,
    errorBody,
    errorSchema: FleetErrorBody,
    schemas: {
      Host: HostView,
      Pool: PoolView,
      Volume: VolumeView,
      VolumeSnapshot: VolumeSnapshotView,
      Export: ExportView,
      ExportBatch: ExportBatchView,
      Instance: InstanceView,
      Migration: MigrationView,
      Point: PointView,
      Target: TargetView,
      Schedule: ScheduleView,
      Job: JobView,
      Event: EventView,
      AuditRow: AuditView,
      Error: FleetErrorBody,
    },
    routes: [
      listHosts,
      getHost,
      createEnrolment,
      enrolHost,
      rotateHost,
      revokeHost,
      drainHost,
      undrainHost,
      removeHost,
      listPools,
      getPool,
      listPoolVolumes,
      createVolume,
      listVolumes,
      getVolume,
      resizeVolume,
      deleteVolume,
      snapshotVolume,
      listVolumeSnapshots,
      deleteVolumeSnapshot,
      cloneVolume,
      rollbackVolume,
      listExports,
      createExport,
      getExport,
      deleteExport,
      createExportBatch,
      getExportBatch,
      listInstances,
      getInstance,
      assignInstance,
      cloneInstance,
      startInstance,
      stopInstance,
      migrateInstance,
      listMigrations,
      getMigration,
      stopMigration,
      createPoint,
      listPoints,
      getPoint,
      deletePoint,
      pinPoint,
      unpinPoint,
      listFiles,
      diffPoints,
      verifyPoint,
      rehearsePoint,
      restorePoint,
      untrashPoint,
      listSchedules,
      getSchedule,
      listRuns,
      previewRetention,
      listTargets,
      createTarget,
      getTarget,
      changeTarget,
      deleteTarget,
      pingTarget,
      listTargetFiles,
      listJobs,
      getJob,
      cancelJob,
      retryJob,
      pollEvents,
      streamEvents,
      socketEvents,
      listAudit,
      listStationBackups,
      backUpStation,
      ...operationsRoutes(deps),
    ],
  }
}
