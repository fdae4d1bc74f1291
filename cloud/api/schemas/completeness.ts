/** Whether everything is there, as the API shows it. */

import { Type } from '@sinclair/typebox'
import { BUCKETS_DEFAULT, BUCKETS_MAX, type Completeness, type Loss, VERDICTS } from '../../telemetry/telemetry.ts'
import { closed, GatewayIdSchema, nullable, TimeSchema, time, timeOrNull } from './common.ts'
import { choiceOf, STRETCH_QUERY } from './telemetry.ts'

const Count = Type.Integer({ minimum: 0 })

export const COMPLETENESS_QUERY = {
  ...STRETCH_QUERY,
  buckets: Type.Optional(
    Type.Integer({
      minimum: 2,
      maximum: BUCKETS_MAX,
      default: BUCKETS_DEFAULT,
      description:
        'Into how many buckets of equal length, at most, what arrived is counted; none is shorter than a minute',
    }),
  ),
}

const LossSchema = Type.Object(
  { reason: Type.String({ description: 'Such as bytes, age, disk or corrupt' }), records: Count, gaps: Count },
  closed,
)

const GatewayShareSchema = Type.Object(
  {
    gatewayId: GatewayIdSchema,
    connected: nullable(Type.Boolean({ description: 'Null of a gateway that is not registered' })),
    lastSeenAt: nullable(TimeSchema),
    backlog: nullable(
      Type.Object(
        {
          records: Count,
          bytes: Count,
          oldestAt: nullable(TimeSchema),
          mayConcern: Type.Boolean({ description: 'Whether some of it may have been received within the stretch' }),
        },
        { ...closed, description: 'What it holds that has not arrived, by its last report, of all its devices' },
      ),
    ),
    lost: Type.Array(LossSchema, { description: 'Given up of what it received within the stretch, by reason' }),
    lostAtUnknownTime: Type.Array(LossSchema, {
      description: 'Given up since the begin of the stretch, by a gateway too old to tell when that was received',
    }),
    gaps: Type.Array(
      Type.Object(
        {
          records: Count,
          reason: Type.String(),
          givenUpAt: TimeSchema,
          from: nullable(TimeSchema),
          to: nullable(TimeSchema),
        },
        { ...closed, description: 'from and to: when the first and the last of the records were received' },
      ),
      { description: 'The newest 100 of both' },
    ),
  },
  closed,
)

export const CompletenessSchema = Type.Object(
  {
    from: TimeSchema,
    to: TimeSchema,
    verdict: choiceOf(
      VERDICTS,
      'COMPLETE: whatever the gateways received has arrived. INCOMPLETE: some was given up and will never arrive. PENDING: ' +
        'some is on its way. UNKNOWN: nobody can say at present. The first of INCOMPLETE, PENDING, UNKNOWN that holds counts',
    ),
    why: Type.String({ description: 'The reasons, in sentences' }),
    judgedUntil: {
      ...TimeSchema,
      description: 'The verdict is about the stretch up to here; gateways report with a delay',
    },
    arrived: Type.Object(
      {
        records: { ...Count, description: 'Readings in the database, in the whole buckets that meet the stretch' },
        uncounted: { ...Count, description: 'Readings of all devices, at any time, that are here and not counted yet' },
        firstAt: nullable({ ...TimeSchema, description: 'Of those readings that are kept raw' }),
        lastAt: nullable(TimeSchema),
        bucketMs: Type.Integer({
          description: 'Length of a bucket, milliseconds; buckets begin at multiples of it, UTC',
        }),
        buckets: Type.Array(Type.Object({ at: TimeSchema, records: Count }, closed), {
          description: 'By time; a bucket without readings is absent',
        }),
      },
      closed,
    ),
    gateways: Type.Array(GatewayShareSchema),
  },
  {
    ...closed,
    $id: 'Completeness',
    examples: [
      {
        from: '2026-01-01T00:00:00.000Z',
        to: '2026-01-02T00:00:00.000Z',
        verdict: 'INCOMPLETE',
        why: 'Gateway gw-1 gave up records of the stretch, of all its devices together: 120 (age).',
        judgedUntil: '2026-01-02T00:00:00.000Z',
        arrived: {
          records: 1_320,
          uncounted: 0,
          firstAt: '2026-01-01T00:00:12.000Z',
          lastAt: '2026-01-01T23:59:12.000Z',
          bucketMs: 43_200_000,
          buckets: [
            { at: '2026-01-01T00:00:00.000Z', records: 600 },
            { at: '2026-01-01T12:00:00.000Z', records: 720 },
          ],
        },
        gateways: [
          {
            gatewayId: 'gw-1',
            connected: true,
            lastSeenAt: '2026-01-02T08:00:00.000Z',
            backlog: { records: 0, bytes: 0, oldestAt: null, mayConcern: false },
            lost: [{ reason: 'age', records: 120, gaps: 1 }],
            lostAtUnknownTime: [],
            gaps: [
              {
                records: 120,
                reason: 'age',
                givenUpAt: '2026-01-01T13:00:00.000Z',
                from: '2026-01-01T03:00:00.000Z',
                to: '2026-01-01T05:00:00.000Z',
              },
            ],
          },
        ],
      },
    ],
  },
)

export function completenessBody(
  stretch: { readonly fromMs: number; readonly toMs: number },
  { verdict, why, judgedUntilMs, arrived, gateways }: Completeness,
) {
  const { records, uncounted, firstMs, lastMs, bucketMs, buckets } = arrived
  return {
    from: time(stretch.fromMs),
    to: time(stretch.toMs),
    verdict,
    why,
    judgedUntil: time(judgedUntilMs),
    arrived: {
      records,
      uncounted,
      firstAt: timeOrNull(firstMs),
      lastAt: timeOrNull(lastMs),
      bucketMs,
      buckets: buckets.map(({ atMs, records }) => ({ at: time(atMs), records })),
    },
    gateways: gateways.map((gateway) => shareBody(gateway)),
  }
}

function shareBody(gateway: Completeness['gateways'][number]) {
  const { gatewayId, connected, lastSeenAtMs, backlog, mayConcern, lost, lostAtUnknownTime, gaps } = gateway
  return {
    gatewayId,
    connected,
    lastSeenAt: timeOrNull(lastSeenAtMs),
    backlog:
      backlog === null
        ? null
        : { records: backlog.records, bytes: backlog.bytes, oldestAt: timeOrNull(backlog.oldestMs), mayConcern },
    lost: lost.map(lossBody),
    lostAtUnknownTime: lostAtUnknownTime.map(lossBody),
    gaps: gaps.map(({ recordCount, reason, givenUpAtMs, fromMs, toMs }) => ({
      records: recordCount,
      reason,
      givenUpAt: time(givenUpAtMs),
      from: timeOrNull(fromMs),
      to: timeOrNull(toMs),
    })),
  }
}

function lossBody({ reason, records, gaps }: Loss) {
  return { reason, records, gaps }
}
