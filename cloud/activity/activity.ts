/** The activity log: the public face of this folder. */

export * from './activity-types.ts'
export * from './event.ts'
