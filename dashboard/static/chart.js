// Draws the charts of a page from the options beside them and then says that the page is ready.
"use strict";
(function () {
  // A strict content policy forbids style attributes, which the library sets on what it draws; the same text through the
  // style object is allowed.
  const plain = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else plain.call(this, name, value);
  };
  // on a small screen an axis has room for the first line of each name only; the table beside the chart has all of it
  const fitted = (width) => ({
    xAxis: { axisLabel: { fontSize: width < 700 ? 11 : 12, formatter: (name) => (width < 520 ? name.split("\n")[0] : name) } },
  });
  for (const place of document.querySelectorAll(".chart[data-option]")) {
    const chart = echarts.init(place, null, { renderer: "svg" });
    chart.setOption(JSON.parse(place.dataset.option));
    const fit = () => {
      chart.resize();
      chart.setOption(fitted(place.clientWidth));
    };
    fit();
    new ResizeObserver(fit).observe(place);
  }
  document.documentElement.dataset.ready = "1";
})();
