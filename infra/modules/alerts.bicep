// One rule for each entry of alerts.json: its query finds what is wrong, and any row of it is an alert.
param name string
param location string
param tags object
param workspaceId string
param email string
param runbookUrl string
param profile string

var alerts = filter(loadJsonContent('../alerts.json'), alert => contains(alert.profiles, profile))

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

resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in alerts: {
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
