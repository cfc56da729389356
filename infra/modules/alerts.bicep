// One rule for each entry of alerts.json, whose query finds what is wrong: any row of it is an alert. And one for each
// entry of metric-alerts.json, on what the platform itself measures.
import { Tags } from '../types.bicep'

param name string
param location string
param tags Tags
param workspaceId string
param email string
param runbookUrl string
param profile string

@description('What Graph speaks to: the gateway, or the app.')
param frontId string

var alerts = filter(loadJsonContent('../alerts.json'), alert => contains(alert.profiles, profile))
var metricAlerts = filter(loadJsonContent('../metric-alerts.json'), alert => contains(alert.profiles, profile))

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-operators'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: take(name, 12)
    enabled: true
    emailReceivers: [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [for alert in alerts: {
  name: '${name}-${alert.name}'
  location: location
  tags: tags
  properties: {
    displayName: 'Graph Relay: ${alert.title}'
    description: '${alert.description} What to do: ${runbookUrl}/${alert.name}.md'
    severity: alert.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT5M'
    windowSize: alert.window
    autoMitigate: true
    skipQueryValidation: true // tables come into being with their first row
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [people.id] }
  }
}]

resource metricRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in metricAlerts: {
  name: '${name}-${alert.name}'
  location: 'global'
  tags: tags
  properties: {
    description: '${alert.description} What to do: ${runbookUrl}/${alert.name}.md'
    severity: alert.severity
    enabled: true
    scopes: [frontId]
    evaluationFrequency: 'PT5M'
    windowSize: alert.window
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'mean'
          criterionType: 'StaticThresholdCriterion'
          metricName: alert.metric
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: json(alert.mean) // Bicep has no fractions
          skipMetricValidation: true
        }
        {
          name: 'slowest'
          criterionType: 'StaticThresholdCriterion'
          metricName: alert.metric
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: json(alert.slowest)
          skipMetricValidation: true
        }
      ]
    }
    actions: [{ actionGroupId: people.id }]
  }
}]
